//! Executes the plugins of a network in order: ADD, CHECK, DEL, GC, STATUS and VERSION of a list.

mod call;
mod netns_gone;
mod partial;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use cni_types::args::{Command, PluginType};
use cni_types::conf::NetworkConfList;
use cni_types::error::CniError;
use cni_types::json;
use cni_types::result::{self, CniResult};
use cni_types::version::{ConfVersion, Version, VersionInfo, VersionInfoError};
use serde::de::IgnoredAny;

use self::call::{Call, Variables};
pub use self::netns_gone::Tried;
use crate::cgroup::Cgroup;
use crate::exec::{self, Limits};
use crate::find::NotFound;
use crate::helper::Helper;
use crate::request::{self, RuntimeConf, ValidAttachment};
use crate::root::Root;

/// Target of the `tracing` span of each execution.
pub const TRACE_TARGET: &str = "cnidaria::trace";

/// Evaluated before each plugin.
#[derive(Clone)]
struct GoOn(Arc<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for GoOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GoOn")
    }
}

/// Executes the plugins of networks.
#[derive(Clone, Debug)]
pub struct Cni {
    path: Vec<PathBuf>,
    env: Vec<(OsString, OsString)>,
    limits: Limits,
    root: Option<Root>,
    helper: Option<Helper>,
    cgroup: Option<Cgroup>,
    passthru: bool,
    go_on: Option<GoOn>,
    trace_context: Option<TraceContext>,
}

/// Returns the variables for a plugin of the current span.
type TraceContext = fn() -> Vec<(OsString, OsString)>;

/// A failed call on a network.
#[derive(Debug, thiserror::Error)]
#[error("{command} of network {network:?}{}", in_plugin(.plugin))]
pub struct Error {
    /// The command.
    pub command: Command,
    /// `name` of the network; empty for VERSION.
    pub network: String,
    /// `type` of the plugin that failed; `None` when no plugin was at fault.
    pub plugin: Option<PluginType>,
    /// Position of that plugin in the list, from 0; `None` when the call is about a single plugin.
    pub position: Option<usize>,
    /// Whether any plugin ran in this call and may have changed something.
    pub executed: bool,
    /// For ADD, the result of the plugins before it in the list.
    pub so_far: Option<Box<CniResult>>,
    /// The cause.
    pub source: Box<Cause>,
}

impl Error {
    /// The error object that the plugin returned.
    pub fn answer(&self) -> Option<&CniError> {
        match &*self.source {
            Cause::Exec(error) => error.answer(),
            _ => None,
        }
    }

    /// Whether the plugin answered with an error: an error object, an exit code, or output beyond the
    /// limit.
    pub fn is_refusal(&self) -> bool {
        matches!(&*self.source, Cause::Exec(error) if error.is_refusal())
    }

    /// Whether the plugin was stopped, by its deadline, a signal or the caller, or may still be running:
    /// anything but an answer, or a plugin that never started.
    pub fn is_interruption(&self) -> bool {
        match &*self.source {
            Cause::Exec(error) => error.is_interruption(),
            Cause::GivenUp | Cause::Root(_) => true,
            _ => false,
        }
    }
}

/// Why a call on a network failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The list has no plugins.
    #[error("the network has no plugins")]
    NoPlugins,
    /// The configuration's version does not have this command.
    #[error("cniVersion {version:?} does not have this command")]
    Unsupported {
        /// The configuration's version.
        version: ConfVersion,
    },
    /// The plugin's binary was not found.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// The caller cancelled the call, see [`Cni::while_true`].
    #[error("given up")]
    GivenUp,
    /// The plugins' root directory is no longer usable.
    #[error("root directory of plugins")]
    Root(#[source] std::io::Error),
    /// The execution failed.
    #[error(transparent)]
    Exec(#[from] exec::Error),
    /// The plugin succeeded but did not print a valid result.
    #[error("the plugin printed no valid result{}", exec::quoted("stdout", .stdout))]
    Result {
        /// Why it is none.
        #[source]
        source: result::Error,
        /// The beginning of its standard output, if that is not JSON.
        stdout: String,
    },
    /// The result so far cannot be expressed in the configuration's version for the next plugin.
    #[error("the result cannot be passed on as prevResult")]
    PrevResult(#[source] result::Error),
    /// The request could not be built.
    #[error("cannot derive the plugin's configuration")]
    Request(#[from] json::Error),
    /// The response to VERSION is not valid.
    #[error(transparent)]
    Version(#[from] VersionInfoError),
    /// The plugin does not support the configuration's version.
    #[error("the plugin supports CNI {}, not {wanted}", .supported.join(", "))]
    Incompatible {
        /// The configuration's version.
        wanted: Version,
        /// The versions that the plugin supports.
        supported: Vec<String>,
    },
}

impl Cause {
    /// What is JSON is described by `source`; other text shows what the plugin printed instead.
    fn no_result(source: result::Error, stdout: &[u8]) -> Self {
        let is_json = serde_json::from_slice::<IgnoredAny>(stdout).is_ok();
        let stdout = if is_json {
            String::new()
        } else {
            exec::excerpt(stdout)
        };
        Self::Result { source, stdout }
    }
}

impl Cni {
    /// Searches for plugins in the directories `path`, in order. Their environment contains only
    /// [`exec::PATH`] and the `CNI_*` variables.
    pub fn new(path: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self {
            path: path.into_iter().map(Into::into).collect(),
            env: vec![("PATH".into(), exec::PATH.into())],
            limits: Limits::default(),
            root: None,
            helper: None,
            cgroup: None,
            passthru: false,
            go_on: None,
            trace_context: None,
        }
    }

    /// Sets the limits of each execution.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets an environment variable for plugins.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let name = name.into();
        self.env.retain(|(old, _)| *old != name);
        self.env.push((name, value.into()));
        self
    }

    /// Sets variables of each execution, computed within the execution's span: the context of a
    /// distributed trace.
    #[must_use]
    pub fn with_trace_context(mut self, context: fn() -> Vec<(OsString, OsString)>) -> Self {
        self.trace_context = Some(context);
        self
    }

    /// Searches and runs plugins below another root directory.
    #[must_use]
    pub fn with_root(mut self, root: Option<Root>) -> Self {
        self.root = root;
        self
    }

    /// Starts plugins on another thread. A root directory has its own.
    #[must_use]
    pub fn with_helper(mut self, helper: Option<Helper>) -> Self {
        self.helper = helper;
        self
    }

    /// Runs plugins in a control group.
    #[must_use]
    pub fn with_cgroup(mut self, cgroup: Option<Cgroup>) -> Self {
        self.cgroup = cgroup;
        self
    }

    /// Provides a built-in plugin `passthru`, whose ADD returns the previous plugin's result, or an
    /// empty one.
    #[must_use]
    pub fn with_passthru(mut self) -> Self {
        self.passthru = true;
        self
    }

    /// Executes plugins only while `go_on` returns true: a caller can cancel a call but let the
    /// running plugin finish.
    #[must_use]
    pub fn while_true(mut self, go_on: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.go_on = Some(GoOn(Arc::new(go_on)));
        self
    }

    /// The directories searched for plugins.
    pub fn path(&self) -> &[PathBuf] {
        &self.path
    }

    /// Attaches a container: executes every plugin in order, each with the previous one's result.
    /// If a binary is missing, executes none, because the undo needs that binary too.
    ///
    /// # Errors
    /// The first failure; later plugins are not executed, and nothing is undone. To undo, call
    /// [`del_each`](Self::del_each) with [`Error::so_far`] if [`Error::executed`].
    pub async fn add(
        &self,
        list: &NetworkConfList,
        runtime: &RuntimeConf,
    ) -> Result<CniResult, Error> {
        let mut call = Call::new(self, Command::Add, list.name().as_str());
        for (position, plugin) in list.plugins().iter().enumerate().skip(1) {
            call.position = Some(position);
            call.require(plugin.plugin_type()).await?;
        }
        let mut result: Option<CniResult> = None;
        for (position, plugin) in list.plugins().iter().enumerate() {
            call.position = Some(position);
            let added = call.attachment(list, plugin, runtime, result.as_ref());
            let printed = added.await.and_then(|stdout| {
                let parsed = CniResult::parse(&stdout, list.cni_version());
                parsed.map_err(|source| call.failed(plugin, Cause::no_result(source, &stdout)))
            });
            result = match printed {
                Ok(next) => Some(next),
                Err(error) => {
                    let so_far = result.map(Box::new);
                    return Err(Error { so_far, ..error });
                }
            };
        }
        result.ok_or_else(|| call.error(None, Cause::NoPlugins))
    }

    /// Checks an attachment, given the result of its ADD. Does nothing when the configuration has
    /// `disableCheck`.
    ///
    /// # Errors
    /// The first failure, and [`Cause::Unsupported`] before 0.4.0.
    pub async fn check(
        &self,
        list: &NetworkConfList,
        runtime: &RuntimeConf,
        prev_result: Option<&CniResult>,
    ) -> Result<(), Error> {
        let mut call = Call::new(self, Command::Check, list.name().as_str());
        if !list.cni_version().effective().supports_check() {
            let version = list.cni_version();
            return Err(call.error(None, Cause::Unsupported { version }));
        }
        if list.disable_check() {
            return Ok(());
        }
        for (position, plugin) in list.plugins().iter().enumerate() {
            call.position = Some(position);
            call.attachment(list, plugin, runtime, prev_result).await?;
        }
        Ok(())
    }

    /// Detaches a container, given the result of its ADD if known: executes every plugin in reverse
    /// order. Plugins of 0.3.1 and older do not get the result.
    ///
    /// # Errors
    /// The first failure; the plugins before it in the list are not executed (specification,
    /// section 3, deleting an attachment). The call can be repeated; if the network namespace is
    /// gone, [`del_without_netns`](Self::del_without_netns) continues from there.
    pub async fn del(
        &self,
        list: &NetworkConfList,
        runtime: &RuntimeConf,
        prev_result: Option<&CniResult>,
    ) -> Result<(), Error> {
        let mut call = Call::new(self, Command::Del, list.name().as_str());
        let version = list.cni_version().effective();
        let prev_result = prev_result.filter(|_| version.del_has_prev_result());
        for (position, plugin) in list.plugins().iter().enumerate().rev() {
            call.position = Some(position);
            call.attachment(list, plugin, runtime, prev_result).await?;
        }
        Ok(())
    }

    /// Makes every plugin remove the resources of attachments that are not `valid`. Does nothing
    /// before 1.1.0, or when the configuration has `disableGC`.
    ///
    /// # Errors
    /// Every failure; the remaining plugins are still executed.
    pub async fn gc(
        &self,
        list: &NetworkConfList,
        valid: &[ValidAttachment],
    ) -> Result<(), Vec<Error>> {
        if list.disable_gc() || !list.cni_version().effective().supports_gc() {
            return Ok(());
        }
        let mut call = Call::new(self, Command::Gc, list.name().as_str());
        let mut errors = Vec::new();
        for (position, plugin) in list.plugins().iter().enumerate() {
            call.position = Some(position);
            let request = request::gc(list, plugin, valid);
            if let Err(error) = call.network(plugin, request).await {
                errors.push(error);
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Asks every plugin whether ADD would work. Before 1.1.0, only checks that the binaries exist.
    ///
    /// # Errors
    /// The first failure, so that its code is unambiguous.
    pub async fn status(&self, list: &NetworkConfList) -> Result<(), Error> {
        let mut call = Call::new(self, Command::Status, list.name().as_str());
        for (position, plugin) in list.plugins().iter().enumerate() {
            call.position = Some(position);
            call.require(plugin.plugin_type()).await?;
            call.require_ipam(plugin).await?;
        }
        if !list.cni_version().effective().supports_status() {
            return Ok(());
        }
        for (position, plugin) in list.plugins().iter().enumerate() {
            call.position = Some(position);
            call.network(plugin, request::network(list, plugin)).await?;
        }
        Ok(())
    }

    /// Asks a plugin for its supported versions. A plugin that does not know VERSION supports
    /// 0.1.0.
    ///
    /// # Errors
    /// [`Error`], with an empty network.
    pub async fn version(&self, plugin: &PluginType) -> Result<VersionInfo, Error> {
        let mut call = Call::new(self, Command::Version, "");
        let stdin = format!("{{\"cniVersion\":\"{}\"}}", Version::LATEST);
        // Plugins built with old libraries require variables that VERSION does not need.
        let parameters = Variables {
            netns: "dummy",
            if_name: "dummy",
            ..Variables::default()
        };
        match call.execute(plugin, parameters, stdin.as_bytes()).await {
            Ok(stdout) => {
                VersionInfo::parse(&stdout).map_err(|error| call.error(Some(plugin), error.into()))
            }
            Err(error)
                if error
                    .answer()
                    .is_some_and(|answer| answer.msg == "unknown CNI_COMMAND: VERSION") =>
            {
                Ok(VersionInfo::of(&[Version::V0_1_0]))
            }
            Err(error) => Err(error),
        }
    }

    /// Checks that every plugin of the list exists and supports the configuration's version.
    ///
    /// # Errors
    /// Every failure.
    pub async fn validate(&self, list: &NetworkConfList) -> Result<(), Vec<Error>> {
        let wanted = list.cni_version().effective();
        let mut errors = Vec::new();
        for plugin in list.plugins() {
            match self.version(plugin.plugin_type()).await {
                Ok(info) if info.supports(wanted) => {}
                Ok(info) => {
                    let mut call = Call::new(self, Command::Version, list.name().as_str());
                    call.executed = true;
                    let supported = info.supported_versions;
                    errors.push(call.failed(plugin, Cause::Incompatible { wanted, supported }));
                }
                Err(error) => errors.push(Error {
                    network: list.name().to_string(),
                    ..error
                }),
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

fn in_plugin(plugin: &Option<PluginType>) -> String {
    match plugin {
        Some(plugin) => format!(" failed in plugin {:?}", plugin.as_str()),
        None => " failed".to_owned(),
    }
}
