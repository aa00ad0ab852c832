//! Executes delegates through libcni.

pub mod orphans;
mod slots;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use cni_types::conf::NetworkConfList;
use cni_types::error::{CniError, code};
use cni_types::result::CniResult;
use libcni::chain::{Cause, Error, Tried};
use libcni::exec::{self, Limits};
use libcni::{Cgroup, Cni, Helper, Root, RuntimeConf, netns};

use crate::trace;
use slots::{Class, Client, Slots};

use cnidaria_core::domain::entry::{Entry, FailedAdd};
use cnidaria_core::domain::runtime_config::args_after_add;
use cnidaria_core::domain::shim::{self, Shims};
use cnidaria_core::ports::{Attached, DelegateError, Delegates, Wanted};
use cnidaria_core::spans::step;

/// Executes the delegates of attachments within limits.
#[derive(Debug, Clone)]
pub struct Executor {
    limits: Limits,
    slots: Slots,
    root: Option<Root>,
    cgroup: Option<Cgroup>,
    helper: Option<Helper>,
    shims: Shims,
}

/// How many delegates run and wait.
#[derive(Debug, Clone)]
pub struct Load(Slots);

impl Load {
    /// The numbers of running and waiting delegates.
    pub fn now(&self) -> (usize, usize) {
        self.0.load()
    }
}

impl Executor {
    /// Gives each execution at most `deadline`. Each network runs at most `at_once` delegates at a
    /// time, each namespace's pods twice as many, and all together three times as many. DELs have
    /// slots of their own, and so does the default network.
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
            shims: Shims::default(),
        }
    }

    /// A view of how many delegates run and wait.
    pub fn load(&self) -> Load {
        Load(self.slots.clone())
    }

    /// Finds and runs delegates below another root directory: the node's, if the daemon runs in a
    /// container.
    #[must_use]
    pub fn inside(mut self, root: Option<Root>) -> Self {
        self.root = root;
        self
    }

    /// Runs delegates in a cgroup of their own.
    #[must_use]
    pub fn grouped(mut self, cgroup: Option<Cgroup>) -> Self {
        self.cgroup = cgroup;
        self
    }

    /// Starts delegates on a helper thread while several are running.
    #[must_use]
    pub(crate) fn helped(mut self, helper: Option<Helper>) -> Self {
        self.helper = helper;
        self
    }

    /// Also recognises the shim by these names, and refuses to execute it.
    #[must_use]
    pub fn without(mut self, shims: Shims) -> Self {
        self.shims = shims;
        self
    }

    /// Refuses to execute the daemon's own shim, even for plans recorded before that check existed.
    fn refuse_shims(&self, network: &str, conf: &NetworkConfList) -> Result<(), DelegateError> {
        let checked = self.shims.refuse_in(conf);
        checked.map_err(|error| refused(network, &error))
    }

    fn cni(&self, bin_dirs: &[PathBuf]) -> Cni {
        Cni::new(bin_dirs)
            .with_limits(self.limits)
            .with_root(self.root.clone())
            .with_helper(self.helper.clone().filter(|_| self.slots.are_shared()))
            .with_cgroup(self.cgroup.clone())
            .with_passthru()
            .with_trace_context(trace::context)
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
        self.refuse_shims(&entry.network, &entry.conf)?;
        let _slot = tokio::select! {
            slot = step("slot", self.slots.take(Class::Takes, Client::of(entry))) => slot,
            () = wanted.not_any_more() => return Err(not_begun(entry)),
        };
        let cni = self.cni(bin_dirs).while_true(move || wanted.is_still());
        let runtime = runtime_conf(entry);
        // Boxed to keep waiting futures small: a burst has many of them.
        let added = Box::pin(cni.add(&entry.conf, &runtime)).await;
        added.map_err(|error| refine(&entry.network, &error))
    }

    async fn check(&self, bin_dirs: &[PathBuf], entry: &Entry) -> Result<(), DelegateError> {
        self.refuse_shims(&entry.network, &entry.conf)?;
        let _slot = step("slot", self.slots.take(Class::Takes, Client::of(entry))).await;
        let cni = self.cni(bin_dirs);
        match cni
            .check(&entry.conf, &conf_after_add(entry), entry.result.as_ref())
            .await
        {
            // Networks before 0.4.0 have no CHECK; that is not the pod's fault.
            Err(error) if matches!(*error.source, Cause::Unsupported { .. }) => Ok(()),
            checked => checked.map_err(|error| refine(&entry.network, &error)),
        }
    }

    async fn status(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
    ) -> Result<(), DelegateError> {
        self.refuse_shims(conf.name().as_str(), conf)?;
        let client = Client::network(conf.name().as_str());
        let _slot = step("slot", self.slots.take(Class::Takes, client)).await;
        match self.cni(bin_dirs).status(conf).await {
            // Networks before 1.1.0 have no STATUS; assume they are ready.
            Err(error) if matches!(*error.source, Cause::Unsupported { .. }) => Ok(()),
            asked => asked.map_err(|error| {
                let is_missing = matches!(*error.source, Cause::NotFound(_));
                let mut refined = refine(conf.name().as_str(), &error);
                if is_missing {
                    refined.error.code = code::PLUGIN_NOT_AVAILABLE;
                }
                refined
            }),
        }
    }

    async fn gc(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
        valid: &[Attached],
    ) -> Result<(), Vec<DelegateError>> {
        if let Err(error) = self.shims.refuse_in(conf) {
            // A network that never had an attachment would fail GC forever.
            let (network, error) = (conf.name(), cnidaria_core::report::chain(&error));
            tracing::warn!(%network, error, "skipping a network in GC");
            return Ok(());
        }
        let client = Client::network(conf.name().as_str());
        let _slot = step("slot", self.slots.take(Class::Frees, client)).await;
        let valid: Vec<_> = valid
            .iter()
            .map(|one| libcni::ValidAttachment {
                container_id: one.container_id.clone(),
                if_name: one.if_name.clone(),
            })
            .collect();
        let collected = self.cni(bin_dirs).gc(conf, &valid).await;
        let refine = |error| refine(conf.name().as_str(), &error);
        collected.map_err(|errors| errors.into_iter().map(refine).collect())
    }

    async fn del(
        &self,
        bin_dirs: &[PathBuf],
        entry: &Entry,
    ) -> Result<Vec<DelegateError>, DelegateError> {
        if let Err(error) = self.shims.refuse_in(&entry.conf) {
            // Its ADD was refused or never answered; a DEL would wait for itself.
            return Ok(vec![refused(&entry.network, &error)]);
        }
        let _slot = step("slot", self.slots.take(Class::Frees, Client::of(entry))).await;
        let (cni, runtime) = (self.cni(bin_dirs), conf_after_add(entry));
        let (conf, result) = (&entry.conf, entry.result_for_del());
        let result = result.as_deref();
        let tried = match entry.result {
            Some(_) => match Box::pin(cni.del(conf, &runtime, result)).await {
                Ok(()) => return Ok(Vec::new()),
                Err(error) => Tried::Until(error),
            },
            None => match Box::pin(cni.del_each(conf, &runtime, result)).await {
                Ok(()) => return Ok(Vec::new()),
                Err(errors) => Tried::Each(errors),
            },
        };
        let errors = match netns::is_gone(&runtime.netns, self.root.as_ref()).await {
            true => match Box::pin(cni.del_without_netns(conf, &runtime, result, tried)).await {
                Ok(()) => return Ok(Vec::new()),
                Err(errors) => errors,
            },
            false => tried.into_errors(),
        };
        let made_nothing = |error: &Error| {
            let at = error.position;
            at.is_some_and(|plugin| entry.made_nothing(plugin, error.is_refusal()))
        };
        let (refusals, left): (Vec<_>, Vec<_>) = errors.iter().partition(|e| made_nothing(e));
        match worst(entry, &left) {
            Some(error) => Err(error),
            None => Ok(refusals
                .into_iter()
                .map(|error| refine(&entry.network, error))
                .collect()),
        }
    }
}

/// An ADD that was cancelled while waiting for its slot.
fn not_begun(entry: &Entry) -> DelegateError {
    DelegateError {
        network: entry.network.clone(),
        error: CniError::new(code::TRY_AGAIN_LATER, "given up before it began"),
        executed: false,
        timed_out: false,
        failed_at: None,
    }
}

/// The error for a network that must not be executed.
fn refused(network: &str, error: &shim::Error) -> DelegateError {
    DelegateError {
        network: network.to_owned(),
        error: CniError::new(code::INVALID_CONFIG, error.to_string()),
        executed: false,
        timed_out: false,
        failed_at: None,
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

/// Runtime configuration for DEL and CHECK, also of entries recorded by older daemons or Multus.
fn conf_after_add(entry: &Entry) -> RuntimeConf {
    RuntimeConf {
        args: args_after_add(&entry.cni_args),
        ..runtime_conf(entry)
    }
}

/// Picks the failure to report, preferring one where a plugin gave no answer. The others are
/// logged.
fn worst(entry: &Entry, errors: &[&Error]) -> Option<DelegateError> {
    let interrupted = errors.iter().position(|error| error.is_interruption());
    let worst = interrupted.unwrap_or_default();
    for (place, error) in errors.iter().enumerate() {
        if place != worst {
            let error = cnidaria_core::report::chain(error);
            tracing::error!(
                container = %entry.container_id,
                pod = %entry.pod,
                network = entry.network,
                interface = %entry.if_name,
                error,
                "another plugin of the network's chain failed on DEL"
            );
        }
    }
    errors.get(worst).map(|error| refine(&entry.network, error))
}

/// The plugin at which an ADD failed.
fn failed_at(error: &Error) -> Option<FailedAdd> {
    let started = match &*error.source {
        Cause::Exec(error) => error.executed(),
        // Output that is not a result was printed after the plugin did its work.
        Cause::Result { .. } | Cause::GivenUp | Cause::Root(_) => true,
        _ => false,
    };
    let so_far = error.so_far.as_ref();
    error.position.map(|plugin| FailedAdd {
        plugin,
        refused: error.is_refusal(),
        started,
        // In the version in which the last plugin printed it.
        so_far: so_far.and_then(|result| result.to_raw(result.cni_version).ok()),
        unfinished: false,
    })
}

/// Keeps a delegate's code, message and details, and picks a code for other failures.
fn refine(network: &str, error: &Error) -> DelegateError {
    let plugin = error
        .plugin
        .as_ref()
        .map(|plugin| format!("{plugin}: "))
        .unwrap_or_default();
    let error_object = match error.answer() {
        Some(answer) => CniError {
            cni_version: None,
            // Plugins print 0 if one that they called gave no CNI error.
            code: match answer.code {
                0 => code::INTERNAL,
                code => code,
            },
            msg: if answer.msg.is_empty() {
                format!("{plugin}failed with code {} and no message", answer.code)
            } else {
                format!("{plugin}{}", answer.msg)
            },
            details: answer.details.clone(),
        },
        None => {
            let code = match &*error.source {
                Cause::NoPlugins | Cause::NotFound(_) => code::INVALID_CONFIG,
                Cause::Unsupported { .. } | Cause::Incompatible { .. } => {
                    code::INCOMPATIBLE_VERSION
                }
                // The next attempt may succeed.
                Cause::Exec(exec::Error::Deadline { .. } | exec::Error::Busy { .. })
                | Cause::GivenUp => code::TRY_AGAIN_LATER,
                Cause::Exec(_) | Cause::Root(_) => code::IO_FAILURE,
                Cause::Result { .. } | Cause::Version(_) => code::DECODING_FAILURE,
                Cause::PrevResult(_) | Cause::Request(_) => code::INTERNAL,
            };
            CniError::new(
                code,
                format!("{plugin}{}", cnidaria_core::report::chain(&*error.source)),
            )
        }
    };
    DelegateError {
        network: network.to_owned(),
        error: error_object,
        executed: error.executed,
        timed_out: matches!(*error.source, Cause::Exec(exec::Error::Deadline { .. })),
        failed_at: failed_at(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Installs a plugin of this name that creates a file when executed.
    fn plugin(dir: &std::path::Path, name: &str) {
        let path = dir.join(name);
        let script = format!("#!/bin/sh\n: >{}/executed\n", dir.display());
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[tokio::test]
    async fn an_error_without_a_message_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mute");
        std::fs::write(&path, "#!/bin/sh\necho '{\"code\":50}'\nexit 1\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let executor = Executor::new(Duration::from_secs(60), 1);
        let conf = r#"{"cniVersion":"1.1.0","name":"n","plugins":[{"type":"mute"}]}"#;
        let conf = NetworkConfList::parse_any(conf).unwrap();
        let asked = executor.status(&[dir.path().to_owned()], &conf).await;
        let error = asked.unwrap_err().error;
        assert!(
            error
                .msg
                .contains("mute: failed with code 50 and no message"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn status_is_50_for_a_missing_plugin() {
        let dir = tempfile::tempdir().unwrap();
        plugin(dir.path(), "bridge");
        let executor = Executor::new(Duration::from_secs(60), 1);
        for version in ["0.4.0", "1.0.0", "1.1.0"] {
            for (first, second, missing) in [
                (r#"{"type":"absent"}"#, r#"{"type":"bridge"}"#, "absent"),
                (r#"{"type":"bridge"}"#, r#"{"type":"absent"}"#, "absent"),
                (
                    r#"{"type":"bridge","ipam":{"type":"host-local"}}"#,
                    r#"{"type":"bridge"}"#,
                    "host-local",
                ),
            ] {
                let conf = format!(
                    r#"{{"cniVersion":"{version}","name":"n","plugins":[{first},{second}]}}"#
                );
                let conf = NetworkConfList::parse_any(conf).unwrap();
                let asked = executor.status(&[dir.path().to_owned()], &conf).await;
                let error = asked.unwrap_err().error;
                assert_eq!(error.code, 50, "{error}");
                assert!(error.msg.contains(&format!("{missing:?}")), "{error}");
            }
        }
        assert!(!dir.path().join("executed").exists());
    }

    #[tokio::test]
    async fn status_and_gc_never_execute_the_shim() {
        let dir = tempfile::tempdir().unwrap();
        let bin_dirs = [dir.path().to_owned()];
        for name in ["multus-shim", "own"] {
            plugin(dir.path(), name);
            let conf = cni_types::json::RawObject::parse(r#"{"type":"own"}"#).unwrap();
            let shims = Shims::default().and_type_of(&conf);
            let executor = Executor::new(Duration::from_secs(60), 1).without(shims);
            let conf =
                format!(r#"{{"cniVersion":"1.1.0","name":"n","plugins":[{{"type":"{name}"}}]}}"#);
            let conf = NetworkConfList::parse_any(conf).unwrap();
            let failed = executor.status(&bin_dirs, &conf).await.unwrap_err();
            assert_eq!(failed.error.code, code::INVALID_CONFIG);
            assert!(!failed.executed);
            executor.gc(&bin_dirs, &conf, &[]).await.unwrap();
            assert!(!dir.path().join("executed").exists());
        }
    }
}
