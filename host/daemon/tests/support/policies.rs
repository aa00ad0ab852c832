//! Fake policies, which accept everything unless a test makes them deny it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cni_types::args::{Command, ContainerId};
use cni_types::conf::NetworkConfList;
use cni_types::result::CniResult;
use cnidaria_core::domain::attachment::Attachment;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::networks::{Networks, Wanted};
use cnidaria_core::domain::pod::Pod;
use cnidaria_core::domain::sandbox::Sandbox;
use cnidaria_core::domain::selection::Selection;
use cnidaria_core::ports::{
    AddFailure, Attached, Denial, Finale, Policies, PolicyAction, PolicyResult, PolicySession,
    Rehearsal, RehearsalRecord,
};

use super::World;

pub struct FakePolicies(pub Arc<World>);

#[async_trait]
impl Policies for FakePolicies {
    fn begin(&self, verb: Command, sandbox: &Sandbox, _: Option<&Pod>) -> Box<dyn PolicySession> {
        let session = format!("{} {}", verb.as_str(), sandbox.pod);
        self.0.sessions.lock().unwrap().push(session);
        Box::new(FakeSession(Arc::clone(&self.0)))
    }

    fn rehearse(&self, _: &Sandbox, _: &Pod) -> Rehearsal {
        Rehearsal {
            session: Box::new(FakeSession(Arc::clone(&self.0))),
            record: Arc::new(NoRecord),
        }
    }

    async fn status(&self) -> Result<(), Denial> {
        FakeSession(Arc::clone(&self.0)).ask("status", "")
    }

    async fn release(&self, container: &ContainerId) {
        self.0.keep(format!("release {container}"));
    }

    async fn gc(&self, _: &[Attached]) {}
}

struct NoRecord;

impl RehearsalRecord for NoRecord {
    fn take(&self) -> Vec<PolicyAction> {
        Vec::new()
    }
}

struct FakeSession(Arc<World>);

impl FakeSession {
    fn ask(&self, hook: &'static str, about: &str) -> Result<(), Denial> {
        let what = format!("deny {hook} {about}");
        if !self.0.fail.lock().unwrap().contains(what.trim_end()) {
            return Ok(());
        }
        Err(Denial {
            policy: "p".into(),
            hook,
            code: 150,
            message: "told to deny".into(),
            details: None,
        })
    }
}

#[async_trait]
impl PolicySession for FakeSession {
    async fn select(&mut self, networks: Networks) -> Result<Networks, Denial> {
        self.ask("select", "")?;
        let edits = self.0.edits.lock().unwrap();
        let Some((what, network)) = edits.get("select").and_then(|edit| edit.split_once(' '))
        else {
            return Ok(networks);
        };
        let (namespace, name) = network.split_once('/').unwrap_or(("default", network));
        let selection = Selection {
            namespace: namespace.into(),
            name: name.into(),
            named_by: Some("p".into()),
            ..Selection::default()
        };
        let mut networks = networks;
        match what {
            "drop" => networks
                .others
                .retain(|one| *one != Wanted::OfNode(name.into())),
            "default" => networks.default = Some(selection),
            _ => networks
                .others
                .insert(0, Wanted::Selected(Box::new(selection))),
        }
        Ok(networks)
    }

    async fn plan(&mut self, _: &[Attachment]) -> Result<(), Denial> {
        Ok(())
    }

    async fn before_add(&mut self, attachment: Attachment) -> Result<Option<Attachment>, Denial> {
        self.ask("before-add", attachment.conf.name().as_str())?;
        let edits = self.0.edits.lock().unwrap();
        match edits
            .get(attachment.conf.name().as_str())
            .map(String::as_str)
        {
            Some("skip") => Ok(None),
            Some(text) => Ok(Some(Attachment {
                conf: NetworkConfList::parse_any(text).unwrap(),
                ..attachment
            })),
            None => Ok(Some(attachment)),
        }
    }

    async fn settle(&mut self, _: &[Attachment]) -> Result<(), Denial> {
        self.ask("settle", "")
    }

    async fn after_add(
        &mut self,
        attachment: &Attachment,
        result: CniResult,
    ) -> Result<PolicyResult, Denial> {
        let name = attachment.conf.name().as_str();
        self.0
            .told
            .lock()
            .unwrap()
            .push(format!("after-add {name}"));
        self.ask("after-add", name)?;
        Ok(PolicyResult {
            result,
            tags: BTreeMap::new(),
        })
    }

    async fn validate_plugged(&mut self, _: &Attachment, _: &PolicyResult) -> Result<(), Denial> {
        self.ask("validate-result", "")
    }

    async fn finalize(
        &mut self,
        _: &[Attachment],
        result: CniResult,
        shown: Vec<CniResult>,
    ) -> Result<Finale, Denial> {
        self.ask("finalize", "")?;
        let outcome = |result| PolicyResult {
            result,
            tags: BTreeMap::new(),
        };
        Ok(Finale {
            outcome: outcome(result),
            shown: shown.into_iter().map(outcome).collect(),
        })
    }

    async fn check(&mut self, entry: &Entry) -> Result<(), Denial> {
        self.ask("check", entry.conf.name().as_str())
    }

    async fn del(&mut self, entry: &Entry) {
        let log = self.0.log.lock().unwrap();
        let detached = log.iter().filter(|what| what.starts_with("del ")).count();
        let mut seen_off = self.0.seen_off.lock().unwrap();
        seen_off.push((entry.conf.name().as_str().to_owned(), detached));
    }

    async fn add_failed(&mut self, plan: &[Attachment], why: AddFailure) {
        self.0
            .keep(format!("add-failed {} {:?}", plan.len(), why.denied_by));
    }

    fn succeed(&mut self) {
        self.0.keep("succeed".to_owned());
    }
}
