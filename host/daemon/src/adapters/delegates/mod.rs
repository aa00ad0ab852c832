//! Executing delegates, by libcni.

pub mod orphans;
mod slots;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use cni_types::conf::NetworkConfList;
use cni_types::error::{CniError, code};
use cni_types::result::CniResult;
use libcni::chain::{Cause, Error};
use libcni::exec::{self, Limits};
use libcni::{Cgroup, Cni, Helper, Root, RuntimeConf, netns};

use slots::{Class, Slots};

use crate::domain::entry::Entry;
use crate::domain::runtime_config::args_after_add;
use crate::ports::{Attached, DelegateError, Delegates, Wanted};

/// Executes the delegates of attachments within limits.
#[derive(Debug, Clone)]
pub struct Executor {
    limits: Limits,
    slots: Slots,
    root: Option<Root>,
    cgroup: Option<Cgroup>,
    helper: Option<Helper>,
}

impl Executor {
    /// Gives each execution at most `deadline`, and executes `at_once` of them at a time.
    pub fn new(deadline: Duration, at_once: usize) -> Self {
        Self {
            limits: Limits {
                deadline,
                ..Limits::default()
            },
            slots: Slots::new(at_once),
            root: None,
            cgroup: None,
            helper: None,
        }
    }

    /// The same with delegates that are found and run below another root directory: the node's,
    /// where the daemon lives in a container.
    #[must_use]
    pub fn inside(mut self, root: Option<Root>) -> Self {
        self.root = root;
        self
    }

    /// The same with delegates that run in a control group of their own.
    #[must_use]
    pub fn grouped(mut self, cgroup: Option<Cgroup>) -> Self {
        self.cgroup = cgroup;
        self
    }

    /// The same with a thread that starts delegates where several are under way.
    #[must_use]
    pub fn helped(mut self, helper: Option<Helper>) -> Self {
        self.helper = helper;
        self
    }

    fn cni(&self, bin_dirs: &[PathBuf]) -> Cni {
        Cni::new(bin_dirs)
            .with_limits(self.limits)
            .with_root(self.root.clone())
            .with_helper(self.helper.clone().filter(|_| self.slots.are_shared()))
            .with_cgroup(self.cgroup.clone())
            .with_passthru()
    }
}

#[async_trait]
impl Delegates for Executor {
    async fn add(
        &self,
        bin_dirs: &[PathBuf],
        entry: &Entry,
        mut wanted: Wanted,
    ) -> Result<CniResult, DelegateError> {
        let _slot = tokio::select! {
            slot = self.slots.take(Class::Takes) => slot,
            () = wanted.not_any_more() => return Err(not_begun(entry)),
        };
        let cni = self.cni(bin_dirs).while_true(move || wanted.is_still());
        let runtime = runtime_conf(entry);
        // Boxed, so that those that wait for a slot, as many as there are in a burst, are small.
        let added = Box::pin(cni.add(&entry.conf, &runtime)).await;
        added.map_err(|error| refine(&entry.network, &error))
    }

    async fn check(&self, bin_dirs: &[PathBuf], entry: &Entry) -> Result<(), DelegateError> {
        let _slot = self.slots.take(Class::Takes).await;
        let cni = self.cni(bin_dirs);
        match cni
            .check(&entry.conf, &conf_after_add(entry), entry.result.as_ref())
            .await
        {
            // A network of before 0.4.0 cannot be checked; that is no fault of the pod's.
            Err(error) if matches!(*error.source, Cause::Unsupported { .. }) => Ok(()),
            checked => checked.map_err(|error| refine(&entry.network, &error)),
        }
    }

    async fn status(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
    ) -> Result<(), DelegateError> {
        let _slot = self.slots.take(Class::Takes).await;
        match self.cni(bin_dirs).status(conf).await {
            // A network of before 1.1.0 cannot be asked; nothing speaks against it.
            Err(error) if matches!(*error.source, Cause::Unsupported { .. }) => Ok(()),
            asked => asked.map_err(|error| refine(conf.name().as_str(), &error)),
        }
    }

    async fn gc(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
        valid: &[Attached],
    ) -> Result<(), Vec<DelegateError>> {
        let _slot = self.slots.take(Class::Frees).await;
        let valid: Vec<_> = valid
            .iter()
            .map(|one| libcni::Attachment {
                container_id: one.container_id.clone(),
                if_name: one.if_name.clone(),
            })
            .collect();
        let collected = self.cni(bin_dirs).gc(conf, &valid).await;
        let refine = |error| refine(conf.name().as_str(), &error);
        collected.map_err(|errors| errors.into_iter().map(refine).collect())
    }

    async fn del(&self, bin_dirs: &[PathBuf], entry: &Entry) -> Result<(), DelegateError> {
        let _slot = self.slots.take(Class::Frees).await;
        let (cni, runtime) = (self.cni(bin_dirs), conf_after_add(entry));
        let (conf, result) = (&entry.conf, entry.result.as_ref());
        let Err(error) = Box::pin(cni.del(conf, &runtime, result)).await else {
            return Ok(());
        };
        if !netns::is_gone(&runtime.netns, self.root.as_ref()).await {
            return Err(refine(&entry.network, &error));
        }
        let deleted = Box::pin(cni.del_without_netns(conf, &runtime, result)).await;
        deleted.map_err(|errors| {
            first_of(&entry.network, &errors).unwrap_or_else(|| refine(&entry.network, &error))
        })
    }
}

/// An ADD that was given up before its turn.
fn not_begun(entry: &Entry) -> DelegateError {
    DelegateError {
        network: entry.network.clone(),
        error: CniError::new(code::TRY_AGAIN_LATER, "given up before it began"),
        executed: false,
    }
}

fn runtime_conf(entry: &Entry) -> RuntimeConf {
    RuntimeConf {
        container_id: entry.container_id.clone(),
        netns: entry.netns.clone().unwrap_or_default(),
        if_name: entry.if_name.clone(),
        args: entry.cni_args.clone(),
        capability_args: entry.capability_args.clone(),
    }
}

/// The same for DEL and CHECK, also of what an older daemon, or Multus, has recorded.
fn conf_after_add(entry: &Entry) -> RuntimeConf {
    RuntimeConf {
        args: args_after_add(&entry.cni_args),
        ..runtime_conf(entry)
    }
}

/// The first of several failures; the others are told to the log.
fn first_of(network: &str, errors: &[Error]) -> Option<DelegateError> {
    let (first, others) = errors.split_first()?;
    for error in others {
        tracing::error!(error = crate::report::chain(error), "not undone");
    }
    Some(refine(network, first))
}

/// Keeps code, message and details of what a delegate answered; finds a code for the rest.
fn refine(network: &str, error: &Error) -> DelegateError {
    let plugin = error
        .plugin
        .as_ref()
        .map(|plugin| format!("{plugin}: "))
        .unwrap_or_default();
    let error_object = match error.answer() {
        Some(answer) => CniError {
            cni_version: None,
            code: answer.code,
            msg: format!("{plugin}{}", answer.msg),
            details: answer.details.clone(),
        },
        None => {
            let code = match &*error.source {
                Cause::NoPlugins | Cause::NotFound(_) => code::INVALID_CONFIG,
                Cause::Unsupported { .. } | Cause::Incompatible { .. } => {
                    code::INCOMPATIBLE_VERSION
                }
                // The next attempt may be luckier.
                Cause::Exec(exec::Error::Deadline { .. } | exec::Error::Busy { .. })
                | Cause::GivenUp => code::TRY_AGAIN_LATER,
                Cause::Exec(_) | Cause::Root(_) => code::IO_FAILURE,
                Cause::Result(_) | Cause::Version(_) => code::DECODING_FAILURE,
                Cause::PrevResult(_) | Cause::Request(_) => code::INTERNAL,
            };
            CniError::new(
                code,
                format!("{plugin}{}", crate::report::chain(&*error.source)),
            )
        }
    };
    DelegateError {
        network: network.to_owned(),
        error: error_object,
        executed: error.executed,
    }
}
