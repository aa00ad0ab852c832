//! State that a policy keeps between requests; needs the grant.

use std::sync::Arc;

use crate::config::count;
use crate::model::outside;
use crate::state::{Binding, Bond, Quota, Refusal};
use crate::wasm::bindings::cnidaria::policy::state::{Error, Host};
use crate::wasm::stage::Stage;
use crate::wasm::store::GuestState;

impl GuestState {
    /// The attachment or sandbox that the hook works on.
    fn binding(&self) -> Binding {
        let renames = matches!(self.stage, Stage::BeforeAdd { .. });
        let bond = Bond {
            container_id: self.facts().container_id.clone(),
            if_name: self
                .stage
                .attachment()
                .map(|attachment| attachment.if_name.clone()),
        };
        Binding::by(self.shared_facts(), bond, renames)
    }
}

impl Host for GuestState {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.policy_state()?.and_then(|state| state.get(&key)))
    }

    async fn swap(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        bound: bool,
    ) -> wasmtime::Result<Result<(), Error>> {
        let unavailable = || Error::Unavailable("state is not available in this hook".to_owned());
        if bound && self.facts().container_id.is_empty() {
            return Ok(Err(Error::Unavailable(
                "this hook has no sandbox to bind to".to_owned(),
            )));
        }
        let Some(state) = self.policy_state()?.map(Arc::clone) else {
            return Ok(Err(unavailable()));
        };
        if let Some(holds) = outside::swap(&key, expected.as_deref(), new.as_deref()) {
            return Ok(if holds { Ok(()) } else { Err(Error::Conflict) });
        }
        let bond = bound.then(|| self.binding());
        let limits = &self.spec().limits;
        let quota = Quota {
            keys: count(limits.state_keys),
            bytes: count(limits.state_bytes),
        };
        let swap = move || {
            let swapped = state.swap(&key, expected.as_deref(), new, bond, quota);
            (swapped, key, expected)
        };
        // Waits for the file on a blocking thread, so that other requests continue.
        let (swapped, key, expected) = tokio::task::spawn_blocking(swap).await?;
        if swapped.is_ok() {
            outside::swapped(&key, expected.as_deref());
        }
        Ok(swapped.map_err(|refusal| match refusal {
            Refusal::Quota => Error::Quota,
            Refusal::Conflict => Error::Conflict,
            Refusal::TooLarge => Error::TooLarge,
            Refusal::Unavailable(reason) => Error::Unavailable(reason),
        }))
    }

    fn keys(&mut self, prefix: String) -> wasmtime::Result<Vec<String>> {
        Ok(self
            .policy_state()?
            .map(|state| state.keys(&prefix))
            .unwrap_or_default())
    }
}
