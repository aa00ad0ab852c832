//! One attachment: readable in every hook that has one, editable before ADD.

use cni_types::json::Pointer;
use wasmtime::component::Resource;

use super::convert::{About, Refusal};
use super::handle::AttachmentHandle;
use crate::model::grant::ConfGrant;
use crate::model::request;
use crate::transaction::{self, AttachmentChange, AttachmentDraft};
use crate::wasm::bindings::{v0_2, v0_3};
use crate::wasm::stage::Stage;
use crate::wasm::store::GuestState;

type Staged = Result<AttachmentChange, transaction::EditError>;

/// Where an edit is made.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// A pointer into the attachment.
    At(&'static str),
    /// A guest's pointer into the conf.
    Conf(&'a str),
    /// A key of the cni-args.
    Arg(&'a str),
}

impl Place<'_> {
    fn pointer(self) -> String {
        match self {
            Self::At(pointer) => pointer.to_owned(),
            Self::Conf(pointer) => shorten(format!("/conf{pointer}")),
            Self::Arg(key) => shorten(Pointer::root().child("cniArgs").child(key).to_string()),
        }
    }
}

/// Bounds what an error repeats of an edit.
fn shorten(mut pointer: String) -> String {
    pointer.truncate(pointer.floor_char_boundary(256));
    pointer
}

impl GuestState {
    fn attachment(
        &self,
        handle: &Resource<AttachmentHandle>,
    ) -> wasmtime::Result<&request::PolicyAttachment> {
        let found = self.part(handle.rep()).and_then(|part| match &self.stage {
            Stage::BeforeAdd { plan, .. } if part > 0 => {
                plan.all.get(part.saturating_sub(1)).map(|one| &**one)
            }
            stage => match stage.plan() {
                Some(plan) => plan.get(part),
                None => stage.attachment(),
            },
        });
        found.ok_or_else(self.stale("attachment"))
    }

    fn edit_attachment<E: Refusal>(
        &mut self,
        handle: &Resource<AttachmentHandle>,
        bytes: usize,
        place: Place<'_>,
        change: impl FnOnce(&AttachmentDraft, &ConfGrant) -> Staged,
    ) -> wasmtime::Result<Result<(), E>> {
        // Also finds out whether the handle is one of this hook's.
        self.attachment(handle)?;
        let own = self.part(handle.rep()) == Some(0);
        let spec = self.shared_spec();
        let immutable = |what: &str| Err(transaction::EditError::Immutable(what.to_owned()));
        let edited = match &mut self.stage {
            Stage::BeforeAdd { attachment, .. } if own => {
                attachment.edit(bytes, |draft| change(draft, &spec.conf))
            }
            Stage::BeforeAdd { .. } => immutable("an attachment other than the hook's own"),
            Stage::ValidatePlan { .. } => immutable("what a hook validates"),
            _ => immutable("an attachment that stands"),
        };
        Ok(edited.map_err(|error| {
            E::refuse(error, || {
                let attachment = self.attachment(handle).ok();
                About {
                    attachment: attachment.map(|one| (one.network.clone(), one.if_name.clone())),
                    pointer: Some(place.pointer()),
                }
            })
        }))
    }
}

/// Any capability can be set, whether or not a plugin takes it: 0.1 and 0.2.
fn any(_: &AttachmentDraft, _: &str, _: bool) -> Result<(), transaction::EditError> {
    Ok(())
}

/// A capability that is given a value needs a plugin that takes it.
fn taken(
    draft: &AttachmentDraft,
    capability: &str,
    is_given: bool,
) -> Result<(), transaction::EditError> {
    match is_given {
        true => draft.takes(capability),
        false => Ok(()),
    }
}

/// Implements attachments of one version: how it sets conf and addresses, whether capabilities have
/// to be taken, and in `$more` the methods that other versions lack.
macro_rules! attachment {
    ($types:path, $conf_set:ident, $set_ips:ident, $takes:ident, { $($more:tt)* }) => {
        use $types::{Bandwidth, EditError, HostAttachment, PortMapping};

        use super::*;

        type Edited = wasmtime::Result<Result<(), EditError>>;

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
                let cost = pointer.len() + json.len();
                self.edit_attachment(&handle, cost, Place::Conf(&pointer), |draft, grant| {
                    draft.$conf_set(&pointer, &json, grant)
                })
            }

            fn conf_remove(&mut self, handle: Resource<AttachmentHandle>, pointer: String) -> Edited {
                let place = Place::Conf(&pointer);
                self.edit_attachment(&handle, pointer.len(), place, |draft, grant| {
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
                Ok(transaction::cni_args(self.attachment(&handle)?))
            }

            fn set_if_name(&mut self, handle: Resource<AttachmentHandle>, name: String) -> Edited {
                let place = Place::At("/ifName");
                self.edit_attachment(&handle, name.len(), place, |draft, _| draft.set_if_name(&name))
            }

            fn set_ips(&mut self, handle: Resource<AttachmentHandle>, cidrs: Vec<String>) -> Edited {
                let bytes = cidrs.iter().map(String::len).sum();
                let place = Place::At("/runtimeConfig/ips");
                self.edit_attachment(&handle, bytes, place, |draft, _| draft.$set_ips(&cidrs))
            }

            fn set_mac(&mut self, handle: Resource<AttachmentHandle>, mac: Option<String>) -> Edited {
                let bytes = mac.as_ref().map_or(0, String::len);
                let place = Place::At("/runtimeConfig/mac");
                self.edit_attachment(&handle, bytes, place, |draft, _| draft.set_mac(mac.as_deref()))
            }

            fn set_infiniband_guid(
                &mut self,
                handle: Resource<AttachmentHandle>,
                guid: Option<String>,
            ) -> Edited {
                let bytes = guid.as_ref().map_or(0, String::len);
                let place = Place::At("/runtimeConfig/infinibandGUID");
                self.edit_attachment(&handle, bytes, place, |draft, _| {
                    $takes(draft, "infinibandGUID", guid.is_some())?;
                    draft.set_infiniband_guid(guid.as_deref())
                })
            }

            fn set_mtu(&mut self, handle: Resource<AttachmentHandle>, mtu: u32) -> Edited {
                let place = Place::At("/conf/mtu");
                self.edit_attachment(&handle, size_of::<u32>(), place, |draft, _| draft.set_mtu(mtu))
            }

            fn set_bandwidth(
                &mut self,
                handle: Resource<AttachmentHandle>,
                bandwidth: Option<Bandwidth>,
            ) -> Edited {
                let bytes = size_of::<Bandwidth>();
                let place = Place::At("/runtimeConfig/bandwidth");
                self.edit_attachment(&handle, bytes, place, |draft, _| {
                    $takes(draft, "bandwidth", bandwidth.is_some())?;
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
                let place = Place::At("/runtimeConfig/portMappings");
                self.edit_attachment(&handle, bytes, place, |draft, _| {
                    $takes(draft, "portMappings", !mappings.is_empty())?;
                    draft.set_port_mappings(&mappings)
                })
            }

            fn set_cni_arg(
                &mut self,
                handle: Resource<AttachmentHandle>,
                key: String,
                json: String,
            ) -> Edited {
                let cost = key.len() + json.len();
                self.edit_attachment(&handle, cost, Place::Arg(&key), |draft, _| {
                    draft.set_cni_arg(&key, &json)
                })
            }

            $($more)*

            fn drop(&mut self, _: Resource<AttachmentHandle>) -> wasmtime::Result<()> {
                Ok(())
            }
        }
    };
}

mod of_v0_2 {
    attachment!(v0_2::cnidaria::policy::types, conf_set, set_ips, any, {});
}

mod of_v0_3 {
    attachment!(
        v0_3::cnidaria::policy::types,
        conf_set_checked,
        set_ips_checked,
        taken,
        {
            fn capabilities(
                &mut self,
                handle: Resource<AttachmentHandle>,
            ) -> wasmtime::Result<Vec<String>> {
                let conf = &self.attachment(&handle)?.conf;
                Ok(transaction::capabilities(conf).into_iter().collect())
            }

            fn append_plugin(
                &mut self,
                handle: Resource<AttachmentHandle>,
                json: String,
            ) -> Edited {
                let place = Place::Conf("/plugins/-");
                self.edit_attachment(&handle, json.len(), place, |draft, grant| {
                    draft.append_plugin(&json, grant)
                })
            }

            fn resource_name(
                &mut self,
                handle: Resource<AttachmentHandle>,
            ) -> wasmtime::Result<Option<String>> {
                Ok(self.attachment(&handle)?.fixed.resource_name.clone())
            }

            fn device_id(
                &mut self,
                handle: Resource<AttachmentHandle>,
            ) -> wasmtime::Result<Option<String>> {
                Ok(self.attachment(&handle)?.fixed.device_id.clone())
            }

            fn default_route(
                &mut self,
                handle: Resource<AttachmentHandle>,
            ) -> wasmtime::Result<Vec<String>> {
                Ok(self.attachment(&handle)?.fixed.default_route.clone())
            }

            fn runtime_config(
                &mut self,
                handle: Resource<AttachmentHandle>,
            ) -> wasmtime::Result<String> {
                // Not shown as empty: the hook fails, and so does the request of a closed policy.
                Ok(transaction::runtime_config(self.attachment(&handle)?)?)
            }

            fn skip(&mut self, handle: Resource<AttachmentHandle>) -> Edited {
                let place = Place::At("/skipped");
                self.edit_attachment(&handle, 1, place, |draft, _| draft.skip())
            }

            fn is_skipped(&mut self, handle: Resource<AttachmentHandle>) -> wasmtime::Result<bool> {
                Ok(self.attachment(&handle)?.skipped)
            }
        }
    );
}
