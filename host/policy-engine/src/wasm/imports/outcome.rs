//! Results: of one delegate, of the request, and the network-status entries.

use wasmtime::component::Resource;

use super::convert::{self, About, Refusal};
use super::handle::OutcomeHandle;
use crate::model::grant::Grant;
use crate::model::outside;
use crate::transaction::{self, OutcomeChange, OutcomeDraft, RawIp};
use crate::wasm::bindings::{v0_2, v0_3};
use crate::wasm::stage::Stage;
use crate::wasm::store::GuestState;

/// Bytes that a list element costs as an edit, on top of its text.
const ELEMENT: usize = 16;

type Staged = Result<OutcomeChange, transaction::EditError>;

impl GuestState {
    fn outcome(&self, handle: &Resource<OutcomeHandle>) -> wasmtime::Result<&OutcomeDraft> {
        let found = self.part(handle.rep()).and_then(|part| match &self.stage {
            Stage::AfterAdd { outcome, .. } => Some(outcome.draft()),
            Stage::Check { stored, .. } | Stage::Del { stored, .. } => Some(stored),
            stage => {
                let finale = stage.finale()?;
                match part.checked_sub(1) {
                    None => Some(&*finale.result),
                    Some(at) => finale.statuses.get(at).map(|status| &**status),
                }
            }
        });
        found.ok_or_else(self.stale("outcome"))
    }

    fn edit_outcome<E: Refusal>(
        &mut self,
        handle: &Resource<OutcomeHandle>,
        bytes: usize,
        member: &'static str,
        change: impl FnOnce(&OutcomeDraft) -> Staged,
    ) -> wasmtime::Result<Result<(), E>> {
        // Also finds out whether the handle is one of this hook's.
        self.outcome(handle)?;
        let part = self.part(handle.rep()).and_then(|part| part.checked_sub(1));
        let immutable = |what: &str| Err(transaction::EditError::Immutable(what.to_owned()));
        let edited = match &mut self.stage {
            Stage::AfterAdd { outcome, .. } => outcome.edit(bytes, change),
            Stage::Finalize { finale, .. } => match part {
                None => finale.edit(bytes, |draft| draft.edit_result(change)),
                Some(at) => finale.edit(bytes, |draft| draft.edit_status(at, change)),
            },
            Stage::ValidateResult { .. } => immutable("what a hook validates"),
            _ => immutable("a stored result"),
        };
        Ok(edited.map_err(|error| E::refuse(error, || self.about(part, member))))
    }

    fn about(&self, part: Option<usize>, member: &'static str) -> About {
        let attachment = match (self.stage.plan(), part) {
            (Some(plan), Some(at)) => plan.get(at),
            (Some(_), None) => None,
            (None, _) => self.stage.attachment(),
        };
        About {
            attachment: attachment.map(|one| (one.network.clone(), one.if_name.clone())),
            pointer: Some(match (self.stage.plan(), part, member) {
                (_, _, "tags") => "/tags".to_owned(),
                (Some(_), Some(at), member) => format!("/status/{at}/result/{member}"),
                (Some(_), None, member) => format!("/final/result/{member}"),
                (None, _, member) => format!("/result/{member}"),
            }),
        }
    }

    /// Like [`edit_outcome`](Self::edit_outcome), for edits that need the grant.
    fn rewrite_outcome<E: Refusal>(
        &mut self,
        handle: &Resource<OutcomeHandle>,
        bytes: usize,
        member: &'static str,
        change: impl FnOnce(&OutcomeDraft) -> Staged,
    ) -> wasmtime::Result<Result<(), E>> {
        let grant = Grant::RewriteResult;
        if !self.spec().grants.contains(&grant) {
            let error = transaction::EditError::NotGranted(grant.as_str());
            let part = self.part(handle.rep()).and_then(|part| part.checked_sub(1));
            return Ok(Err(E::refuse(error, || self.about(part, member))));
        }
        outside::allowed(grant);
        self.edit_outcome(handle, bytes, member, change)
    }
}

/// Implements results of one version; `$more` are the methods that other versions lack.
macro_rules! outcome {
    ($types:path, $convert:path, { $($more:tt)* }) => {
        use $convert as convert;
        use $types::{Dns, EditError, HostOutcome, IfInfo, IpConfig, Route};

        use super::*;

        type Edited = wasmtime::Result<Result<(), EditError>>;

        impl HostOutcome for GuestState {
            fn interfaces(&mut self, handle: Resource<OutcomeHandle>) -> wasmtime::Result<Vec<IfInfo>> {
                let interfaces = self.outcome(&handle)?.result().interfaces.clone();
                Ok(interfaces.into_iter().map(IfInfo::from).collect())
            }

            fn ips(&mut self, handle: Resource<OutcomeHandle>) -> wasmtime::Result<Vec<IpConfig>> {
                Ok(self
                    .outcome(&handle)?
                    .result()
                    .ips
                    .iter()
                    .map(IpConfig::from)
                    .collect())
            }

            fn routes(&mut self, handle: Resource<OutcomeHandle>) -> wasmtime::Result<Vec<Route>> {
                Ok(self
                    .outcome(&handle)?
                    .result()
                    .routes
                    .iter()
                    .map(Route::from)
                    .collect())
            }

            fn dns(&mut self, handle: Resource<OutcomeHandle>) -> wasmtime::Result<Dns> {
                Ok(self.outcome(&handle)?.result().dns.clone().into())
            }

            fn json(&mut self, handle: Resource<OutcomeHandle>) -> wasmtime::Result<String> {
                Ok(self.outcome(&handle)?.json())
            }

            fn set_dns(&mut self, handle: Resource<OutcomeHandle>, dns: Dns) -> Edited {
                let lists = dns
                    .nameservers
                    .iter()
                    .chain(&dns.search)
                    .chain(&dns.options)
                    .chain(&dns.domain);
                let bytes = lists.map(String::len).sum();
                self.edit_outcome(&handle, bytes, "dns", |draft| draft.set_dns(dns.into()))
            }

            fn set_interfaces(
                &mut self,
                handle: Resource<OutcomeHandle>,
                interfaces: Vec<IfInfo>,
            ) -> Edited {
                let texts = |info: &IfInfo| {
                    let more = [&info.mac, &info.sandbox, &info.socket_path, &info.pci_id];
                    info.name.len() + more.into_iter().flatten().map(String::len).sum::<usize>()
                };
                let bytes = interfaces.iter().map(|info| ELEMENT + texts(info)).sum();
                self.rewrite_outcome(&handle, bytes, "interfaces", |draft| {
                    draft.set_interfaces(interfaces.into_iter().map(Into::into).collect())
                })
            }

            fn set_ips(&mut self, handle: Resource<OutcomeHandle>, ips: Vec<IpConfig>) -> Edited {
                let texts = |ip: &IpConfig| ip.address.len() + ip.gateway.as_ref().map_or(0, String::len);
                let bytes = ips.iter().map(|ip| ELEMENT + texts(ip)).sum();
                let ips: Vec<RawIp> = ips.into_iter().map(Into::into).collect();
                self.rewrite_outcome(&handle, bytes, "ips", |draft| draft.set_ips(&ips))
            }

            fn set_routes(&mut self, handle: Resource<OutcomeHandle>, routes: Vec<Route>) -> Edited {
                let texts = |route: &Route| route.dst.len() + route.gw.as_ref().map_or(0, String::len);
                let bytes = routes.iter().map(|route| ELEMENT + texts(route)).sum();
                self.rewrite_outcome(&handle, bytes, "routes", |draft| {
                    let routes = routes
                        .iter()
                        .map(convert::route)
                        .collect::<Result<_, _>>()?;
                    draft.set_routes(routes)
                })
            }

            fn tag(&mut self, handle: Resource<OutcomeHandle>, key: String, value: String) -> Edited {
                let cost = key.len() + value.len();
                self.edit_outcome(&handle, cost, "tags", |draft| {
                    draft.tag(&key, &value)
                })
            }

            $($more)*

            fn drop(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<()> {
                Ok(())
            }
        }
    };
}

mod of_v0_2 {
    outcome!(v0_2::cnidaria::policy::types, super::convert::v0_2, {});
}

mod of_v0_3 {
    outcome!(v0_3::cnidaria::policy::types, super::convert::v0_3, {
        fn tags(
            &mut self,
            handle: Resource<OutcomeHandle>,
        ) -> wasmtime::Result<Vec<(String, String)>> {
            Ok(self.outcome(&handle)?.all_tags().into_iter().collect())
        }
    });
}
