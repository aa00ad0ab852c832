//! The request and its pod.

use wasmtime::component::Resource;

use super::handle::RequestHandle;
use crate::wasm::bindings::{v0_2, v0_3};
use crate::wasm::store::GuestState;

/// Implements the request of one version; `$more` are the methods that other versions lack.
macro_rules! request {
    ($types:path, { $($more:tt)* }) => {
        use $types::{Command, Finding, Host, HostRequest, PodRef};

        use super::*;

        impl Host for GuestState {}

        impl HostRequest for GuestState {
            fn command(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Command> {
                Ok(self.facts().command.into())
            }

            fn container_id(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
                Ok(self.facts().container_id.clone())
            }

            fn pod(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<PodRef>> {
                Ok(self.facts().pod.clone().map(PodRef::from))
            }

            fn annotation(
                &mut self,
                _: Resource<RequestHandle>,
                key: String,
            ) -> wasmtime::Result<Option<String>> {
                Ok(self.facts().annotations.get(&key).cloned())
            }

            fn annotations(
                &mut self,
                _: Resource<RequestHandle>,
            ) -> wasmtime::Result<Vec<(String, String)>> {
                Ok(self.facts().annotations.clone().into_iter().collect())
            }

            fn label(
                &mut self,
                _: Resource<RequestHandle>,
                key: String,
            ) -> wasmtime::Result<Option<String>> {
                Ok(self.facts().labels.get(&key).cloned())
            }

            fn labels(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Vec<(String, String)>> {
                Ok(self.facts().labels.clone().into_iter().collect())
            }

            fn node_name(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
                Ok(self.facts().node_name.clone())
            }

            fn report(&mut self, _: Resource<RequestHandle>, finding: Finding) -> wasmtime::Result<()> {
                GuestState::report(self, finding.into());
                Ok(())
            }

            fn drop(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<()> {
                Ok(())
            }

            $($more)*
        }
    };
}

mod of_v0_2 {
    request!(v0_2::cnidaria::policy::types, {});
}

mod of_v0_3 {
    use v0_3::cnidaria::policy::types::Owner;

    request!(v0_3::cnidaria::policy::types, {
        fn service_account(
            &mut self,
            _: Resource<RequestHandle>,
        ) -> wasmtime::Result<Option<String>> {
            Ok(self.facts().pod_spec.service_account.clone())
        }

        fn owner(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<Owner>> {
            Ok(self.facts().pod_spec.owner.clone().map(Owner::from))
        }

        fn host_network(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<bool> {
            Ok(self.facts().pod_spec.host_network)
        }
    });
}
