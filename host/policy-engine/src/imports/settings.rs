//! The policy's own settings.

use crate::bindings::cnidaria::policy::settings::Host;
use crate::store::GuestState;

impl Host for GuestState {
    fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.spec().settings.to_string())
    }
}
