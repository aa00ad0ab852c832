//! One attachment: readable in every hook that has one, editable before ADD.

use wasmtime::component::Resource;

use super::handle::AttachmentHandle;
use crate::model::grant::ConfGrant;
use crate::model::request;
use crate::transaction::{self, AttachmentChange, AttachmentDraft};
use crate::wasm::bindings::cnidaria::policy::types::{
    Bandwidth, EditError, HostAttachment, PortMapping,
};
use crate::wasm::store::{GuestState, Stage};

type Edited = wasmtime::Result<Result<(), EditError>>;
type Staged = Result<AttachmentChange, transaction::EditError>;

impl GuestState {
    fn attachment(
        &self,
        handle: &Resource<AttachmentHandle>,
    ) -> wasmtime::Result<&request::Attachment> {
        let found = self.part(handle.rep()).and_then(|part| match &self.stage {
            Stage::Finalize { plan, .. } => plan.get(part),
            stage => stage.attachment(),
        });
        found.ok_or_else(self.stale("attachment"))
    }

    fn edit_attachment(
        &mut self,
        handle: &Resource<AttachmentHandle>,
        bytes: usize,
        change: impl FnOnce(&AttachmentDraft, &ConfGrant) -> Staged,
    ) -> Edited {
        if self.part(handle.rep()).is_none() {
            return Err(self.stale("attachment")());
        }
        let spec = self.shared_spec();
        match &mut self.stage {
            Stage::BeforeAdd(transaction) => Ok(transaction
                .edit(bytes, |draft| change(draft, &spec.conf))
                .map_err(EditError::from)),
            Stage::Idle | Stage::Select(_) | Stage::Gc { .. } => Err(self.stale("attachment")()),
            _ => Ok(Err(EditError::Immutable(
                "an attachment that stands".to_owned(),
            ))),
        }
    }
}

impl HostAttachment for GuestState {
    fn network(&mut self, handle: Resource<AttachmentHandle>) -> wasmtime::Result<String> {
        Ok(self.attachment(&handle)?.network.clone())
    }

    fn if_name(&mut self, handle: Resource<AttachmentHandle>) -> wasmtime::Result<String> {
        Ok(self.attachment(&handle)?.if_name.clone())
    }

    fn is_default(&mut self, handle: Resource<AttachmentHandle>) -> wasmtime::Result<bool> {
        Ok(self.attachment(&handle)?.is_default)
    }

    fn plugin_types(
        &mut self,
        handle: Resource<AttachmentHandle>,
    ) -> wasmtime::Result<Vec<String>> {
        Ok(transaction::plugin_types(&self.attachment(&handle)?.conf))
    }

    fn conf(&mut self, handle: Resource<AttachmentHandle>) -> wasmtime::Result<String> {
        Ok(self.attachment(&handle)?.conf.to_string())
    }

    fn conf_get(
        &mut self,
        handle: Resource<AttachmentHandle>,
        pointer: String,
    ) -> wasmtime::Result<Option<String>> {
        Ok(transaction::conf_get(
            &self.attachment(&handle)?.conf,
            &pointer,
        ))
    }

    fn conf_set(
        &mut self,
        handle: Resource<AttachmentHandle>,
        pointer: String,
        json: String,
    ) -> Edited {
        self.edit_attachment(&handle, pointer.len() + json.len(), |draft, grant| {
            draft.conf_set(&pointer, &json, grant)
        })
    }

    fn conf_remove(&mut self, handle: Resource<AttachmentHandle>, pointer: String) -> Edited {
        self.edit_attachment(&handle, pointer.len(), |draft, grant| {
            draft.conf_remove(&pointer, grant)
        })
    }

    fn ips(&mut self, handle: Resource<AttachmentHandle>) -> wasmtime::Result<Vec<String>> {
        Ok(self.attachment(&handle)?.ips.clone())
    }

    fn mac(&mut self, handle: Resource<AttachmentHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.attachment(&handle)?.mac.clone())
    }

    fn infiniband_guid(
        &mut self,
        handle: Resource<AttachmentHandle>,
    ) -> wasmtime::Result<Option<String>> {
        Ok(self.attachment(&handle)?.infiniband_guid.clone())
    }

    fn bandwidth(
        &mut self,
        handle: Resource<AttachmentHandle>,
    ) -> wasmtime::Result<Option<Bandwidth>> {
        Ok(self.attachment(&handle)?.bandwidth.map(Bandwidth::from))
    }

    fn port_mappings(
        &mut self,
        handle: Resource<AttachmentHandle>,
    ) -> wasmtime::Result<Vec<PortMapping>> {
        let mappings = self.attachment(&handle)?.port_mappings.clone();
        Ok(mappings.into_iter().map(PortMapping::from).collect())
    }

    fn cni_args(&mut self, handle: Resource<AttachmentHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self
            .attachment(&handle)?
            .cni_args
            .as_ref()
            .map(ToString::to_string))
    }

    fn set_if_name(&mut self, handle: Resource<AttachmentHandle>, name: String) -> Edited {
        self.edit_attachment(&handle, name.len(), |draft, _| draft.set_if_name(&name))
    }

    fn set_ips(&mut self, handle: Resource<AttachmentHandle>, cidrs: Vec<String>) -> Edited {
        let bytes = cidrs.iter().map(String::len).sum();
        self.edit_attachment(&handle, bytes, |draft, _| draft.set_ips(&cidrs))
    }

    fn set_mac(&mut self, handle: Resource<AttachmentHandle>, mac: Option<String>) -> Edited {
        let bytes = mac.as_ref().map_or(0, String::len);
        self.edit_attachment(&handle, bytes, |draft, _| draft.set_mac(mac.as_deref()))
    }

    fn set_infiniband_guid(
        &mut self,
        handle: Resource<AttachmentHandle>,
        guid: Option<String>,
    ) -> Edited {
        let bytes = guid.as_ref().map_or(0, String::len);
        self.edit_attachment(&handle, bytes, |draft, _| {
            draft.set_infiniband_guid(guid.as_deref())
        })
    }

    fn set_mtu(&mut self, handle: Resource<AttachmentHandle>, mtu: u32) -> Edited {
        self.edit_attachment(&handle, size_of::<u32>(), |draft, _| draft.set_mtu(mtu))
    }

    fn set_bandwidth(
        &mut self,
        handle: Resource<AttachmentHandle>,
        bandwidth: Option<Bandwidth>,
    ) -> Edited {
        let bytes = size_of::<Bandwidth>();
        self.edit_attachment(&handle, bytes, |draft, _| {
            draft.set_bandwidth(bandwidth.map(Into::into))
        })
    }

    fn set_port_mappings(
        &mut self,
        handle: Resource<AttachmentHandle>,
        mappings: Vec<PortMapping>,
    ) -> Edited {
        let bytes = mappings.len() * size_of::<PortMapping>();
        let mappings: Vec<_> = mappings.into_iter().map(Into::into).collect();
        self.edit_attachment(&handle, bytes, |draft, _| {
            draft.set_port_mappings(&mappings)
        })
    }

    fn set_cni_arg(
        &mut self,
        handle: Resource<AttachmentHandle>,
        key: String,
        json: String,
    ) -> Edited {
        self.edit_attachment(&handle, key.len() + json.len(), |draft, _| {
            draft.set_cni_arg(&key, &json)
        })
    }

    fn drop(&mut self, _: Resource<AttachmentHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}
