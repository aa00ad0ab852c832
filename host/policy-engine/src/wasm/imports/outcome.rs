//! Results: of one delegate, of the request, and the network-status entries.

use wasmtime::component::Resource;

use super::convert;
use super::handle::OutcomeHandle;
use crate::model::grant::Grant;
use crate::model::outside;
use crate::transaction::{self, OutcomeChange, OutcomeDraft, RawIp};
use crate::wasm::bindings::cnidaria::policy::types::{
    Dns, EditError, HostOutcome, IfInfo, IpConfig, Route,
};
use crate::wasm::store::{GuestState, Stage};

/// Bytes that a list element costs as an edit, on top of its text.
const ELEMENT: usize = 16;

type Edited = wasmtime::Result<Result<(), EditError>>;
type Staged = Result<OutcomeChange, transaction::EditError>;

impl GuestState {
    fn outcome(&self, handle: &Resource<OutcomeHandle>) -> wasmtime::Result<&OutcomeDraft> {
        let found = self.part(handle.rep()).and_then(|part| match &self.stage {
            Stage::AfterAdd { outcome, .. } => Some(outcome.draft()),
            Stage::Check { stored, .. } => Some(stored),
            Stage::Finalize { finale, .. } => match part.checked_sub(1) {
                None => Some(&finale.draft().result),
                Some(at) => finale.draft().statuses.get(at).map(|status| &**status),
            },
            _ => None,
        });
        found.ok_or_else(self.stale("outcome"))
    }

    fn edit_outcome(
        &mut self,
        handle: &Resource<OutcomeHandle>,
        bytes: usize,
        change: impl FnOnce(&OutcomeDraft) -> Staged,
    ) -> Edited {
        let Some(part) = self.part(handle.rep()) else {
            return Err(self.stale("outcome")());
        };
        let edited = match &mut self.stage {
            Stage::AfterAdd { outcome, .. } => outcome.edit(bytes, change),
            Stage::Finalize { finale, .. } => match part.checked_sub(1) {
                None => finale.edit(bytes, |draft| draft.edit_result(change)),
                Some(at) => finale.edit(bytes, |draft| draft.edit_status(at, change)),
            },
            Stage::Check { .. } => Err(transaction::EditError::Immutable(
                "a stored result".to_owned(),
            )),
            _ => return Err(self.stale("outcome")()),
        };
        Ok(edited.map_err(EditError::from))
    }

    /// Like [`edit_outcome`](Self::edit_outcome), for edits that need the grant.
    fn rewrite_outcome(
        &mut self,
        handle: &Resource<OutcomeHandle>,
        bytes: usize,
        change: impl FnOnce(&OutcomeDraft) -> Staged,
    ) -> Edited {
        let grant = Grant::RewriteResult;
        if !self.spec().grants.contains(&grant) {
            return Ok(Err(
                transaction::EditError::NotGranted(grant.as_str()).into()
            ));
        }
        outside::allowed(grant);
        self.edit_outcome(handle, bytes, change)
    }
}

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
        self.edit_outcome(&handle, bytes, |draft| draft.set_dns(dns.into()))
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
        self.rewrite_outcome(&handle, bytes, |draft| {
            draft.set_interfaces(interfaces.into_iter().map(Into::into).collect())
        })
    }

    fn set_ips(&mut self, handle: Resource<OutcomeHandle>, ips: Vec<IpConfig>) -> Edited {
        let texts = |ip: &IpConfig| ip.address.len() + ip.gateway.as_ref().map_or(0, String::len);
        let bytes = ips.iter().map(|ip| ELEMENT + texts(ip)).sum();
        let ips: Vec<RawIp> = ips.into_iter().map(Into::into).collect();
        self.rewrite_outcome(&handle, bytes, |draft| draft.set_ips(&ips))
    }

    fn set_routes(&mut self, handle: Resource<OutcomeHandle>, routes: Vec<Route>) -> Edited {
        let texts = |route: &Route| route.dst.len() + route.gw.as_ref().map_or(0, String::len);
        let bytes = routes.iter().map(|route| ELEMENT + texts(route)).sum();
        self.rewrite_outcome(&handle, bytes, |draft| {
            let routes = routes
                .iter()
                .map(convert::route)
                .collect::<Result<_, _>>()?;
            draft.set_routes(routes)
        })
    }

    fn tag(&mut self, handle: Resource<OutcomeHandle>, key: String, value: String) -> Edited {
        self.edit_outcome(&handle, key.len() + value.len(), |draft| {
            draft.tag(&key, &value)
        })
    }

    fn drop(&mut self, _: Resource<OutcomeHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}
