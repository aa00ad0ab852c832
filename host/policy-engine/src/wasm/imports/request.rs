//! The request and its pod.

use wasmtime::component::Resource;

use super::handle::RequestHandle;
use crate::wasm::bindings::cnidaria::policy::types::{Command, Finding, Host, HostRequest, PodRef};
use crate::wasm::store::GuestState;

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
        self.report(finding);
        Ok(())
    }

    fn drop(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}
