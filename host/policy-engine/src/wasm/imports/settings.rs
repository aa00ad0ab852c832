//! The policy's own settings.

use crate::wasm::bindings::cnidaria::policy::settings::Host;
use crate::wasm::store::GuestState;

impl Host for GuestState {
    fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.spec().settings.to_string())
    }
}
