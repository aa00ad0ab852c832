//! The state of one call on a network: the current plugin, and whether any has run.

use std::ffi::OsString;
use std::path::PathBuf;

use cni_types::args::{Command, PluginType};
use cni_types::conf::{NetworkConfList, PluginConf};
use cni_types::json::{self, RawObject};
use cni_types::result::{CniResult, Dns};
use cni_types::version::Version;
use serde_json::value::RawValue;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::{Cause, Cni, Error, TRACE_TARGET};
use crate::exec::{self, Invocation};
use crate::find;
use crate::request::{self, RuntimeConf};

/// The built-in no-op plugin, see [`Cni::with_passthru`].
const PASSTHRU: &str = "passthru";
/// Reference plugins that execute the binary in `ipam.type`. Others may interpret it differently:
/// Antrea's `ipam.type` `antrea` is not a binary.
const EXECUTE_IPAM: [&str; 8] = [
    "bridge",
    "dummy",
    "host-device",
    "ipvlan",
    "macvlan",
    "ptp",
    "tap",
    "vlan",
];

pub(super) struct Call<'a> {
    pub(super) cni: &'a Cni,
    pub(super) command: Command,
    /// Name of the network; empty for VERSION.
    pub(super) network: &'a str,
    pub(super) executed: bool,
    /// Position of the current plugin in the list.
    pub(super) position: Option<usize>,
}

/// The variables that differ between calls.
#[derive(Clone, Copy, Default)]
pub(super) struct Variables<'a> {
    pub(super) container_id: &'a str,
    pub(super) netns: &'a str,
    pub(super) if_name: &'a str,
    pub(super) args: &'a str,
}

impl<'a> Call<'a> {
    pub(super) fn new(cni: &'a Cni, command: Command, network: &'a str) -> Self {
        Self {
            cni,
            command,
            network,
            executed: false,
            position: None,
        }
    }

    pub(super) fn error(&self, plugin: Option<&PluginType>, source: Cause) -> Error {
        Error {
            command: self.command,
            network: self.network.to_owned(),
            plugin: plugin.cloned(),
            position: self.position,
            executed: self.executed,
            so_far: None,
            source: Box::new(source),
        }
    }

    pub(super) fn failed(&self, plugin: &PluginConf, source: Cause) -> Error {
        self.error(Some(plugin.plugin_type()), source)
    }

    /// ADD, CHECK or DEL of one plugin, given the result so far in the configuration's version.
    pub(super) async fn attachment(
        &mut self,
        list: &NetworkConfList,
        plugin: &PluginConf,
        runtime: &RuntimeConf,
        result: Option<&CniResult>,
    ) -> Result<Vec<u8>, Error> {
        if self.is_built_in(plugin.plugin_type()) {
            let prev_result = self.prev_result(list, plugin, result)?;
            return self.pass_through(list, prev_result);
        }
        let request = self.request(list, plugin, runtime, result)?;
        self.execute(
            plugin.plugin_type(),
            variables(runtime, &runtime.args.to_string()),
            request.to_text().as_bytes(),
        )
        .await
    }

    /// Calls the IPAM plugin in a plugin's configuration as that plugin would, with the same
    /// configuration (specification, section 4). Does nothing without an IPAM plugin.
    pub(super) async fn ipam(
        &mut self,
        list: &NetworkConfList,
        plugin: &PluginConf,
        runtime: &RuntimeConf,
        result: Option<&CniResult>,
    ) -> Result<(), Error> {
        let Some(ipam) = plugin.ipam_type() else {
            return Ok(());
        };
        let request = self.request(list, plugin, runtime, result)?;
        let args = runtime.args.to_string();
        let request = request.to_text();
        self.execute(ipam, variables(runtime, &args), request.as_bytes())
            .await
            .map(drop)
    }

    /// Calls a plugin with `ipam` removed from its configuration.
    pub(super) async fn without_ipam(
        &mut self,
        list: &NetworkConfList,
        plugin: &PluginConf,
        runtime: &RuntimeConf,
        result: Option<&CniResult>,
    ) -> Result<(), Error> {
        let mut request = self.request(list, plugin, runtime, result)?;
        let members = request.iter().map(|(name, _)| name.to_owned());
        let ipam: Vec<String> = members
            .filter(|name| name.eq_ignore_ascii_case("ipam"))
            .collect();
        for name in ipam {
            request.remove(&name);
        }
        let args = runtime.args.to_string();
        let request = request.to_text();
        let variables = variables(runtime, &args);
        self.execute(plugin.plugin_type(), variables, request.as_bytes())
            .await
            .map(drop)
    }

    /// What the plugin reads, given the result so far.
    fn request(
        &self,
        list: &NetworkConfList,
        plugin: &PluginConf,
        runtime: &RuntimeConf,
        result: Option<&CniResult>,
    ) -> Result<RawObject, Error> {
        let prev_result = self.prev_result(list, plugin, result)?;
        request::attachment(list, plugin, runtime, prev_result)
            .map_err(|error| self.failed(plugin, error.into()))
    }

    fn prev_result(
        &self,
        list: &NetworkConfList,
        plugin: &PluginConf,
        result: Option<&CniResult>,
    ) -> Result<Option<Box<RawValue>>, Error> {
        let version = list.cni_version().effective();
        result
            .map(|result| result.to_raw(version))
            .transpose()
            .map_err(|error| self.failed(plugin, Cause::PrevResult(error)))
    }

    /// GC or STATUS of one plugin.
    pub(super) async fn network(
        &mut self,
        plugin: &PluginConf,
        request: Result<RawObject, json::Error>,
    ) -> Result<(), Error> {
        let request = request.map_err(|error| self.failed(plugin, error.into()))?;
        if self.is_built_in(plugin.plugin_type()) {
            return Ok(());
        }
        self.execute(
            plugin.plugin_type(),
            Variables::default(),
            request.to_text().as_bytes(),
        )
        .await
        .map(drop)
    }

    fn is_built_in(&self, plugin: &PluginType) -> bool {
        self.cni.passthru && plugin.as_str() == PASSTHRU
    }

    /// Output of the plugin `passthru`: for ADD the result so far, else nothing.
    fn pass_through(
        &self,
        list: &NetworkConfList,
        prev_result: Option<Box<RawValue>>,
    ) -> Result<Vec<u8>, Error> {
        if self.command != Command::Add {
            return Ok(Vec::new());
        }
        let result = match prev_result {
            Some(result) => result,
            None => {
                let version = list.cni_version().effective();
                empty_result(version)
                    .to_raw(version)
                    .map_err(|error| self.error(None, Cause::PrevResult(error)))?
            }
        };
        Ok(result.get().as_bytes().to_vec())
    }

    /// Checks that a plugin's binary exists.
    pub(super) async fn require(&self, plugin: &PluginType) -> Result<(), Error> {
        if self.is_built_in(plugin) {
            return Ok(());
        }
        self.find(plugin).await.map(drop)
    }

    /// Checks that the binary of the IPAM plugin exists, if the plugin would execute one.
    pub(super) async fn require_ipam(&self, plugin: &PluginConf) -> Result<(), Error> {
        match plugin.ipam_type() {
            Some(ipam) if EXECUTE_IPAM.contains(&plugin.plugin_type().as_str()) => {
                self.require(ipam).await
            }
            _ => Ok(()),
        }
    }

    /// Finds a plugin's binary in the plugin's own root directory.
    async fn find(&self, plugin: &PluginType) -> Result<PathBuf, Error> {
        let found = match &self.cni.root {
            None => find::find(plugin, &self.cni.path),
            Some(root) => {
                let (name, path) = (plugin.clone(), self.cni.path.clone());
                let found = root.run(move || find::find(&name, &path)).await;
                found.map_err(|error| self.error(Some(plugin), Cause::Root(error)))?
            }
        };
        found.map_err(|error| self.error(Some(plugin), error.into()))
    }

    /// Finds and executes one plugin; returns its standard output.
    pub(super) async fn execute(
        &mut self,
        plugin: &PluginType,
        variables: Variables<'_>,
        stdin: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let span = tracing::info_span!(
            target: TRACE_TARGET,
            "delegate",
            plugin = plugin.as_str(),
            command = self.command.as_str(),
            network = self.network,
            error = Empty,
        );
        let executed = self.execute_in_span(plugin, variables, stdin);
        let done = executed.instrument(span.clone()).await;
        if let Err(error) = &done
            && !span.is_disabled()
        {
            span.record("error", cni_types::error::chain(error));
        }
        done
    }

    async fn execute_in_span(
        &mut self,
        plugin: &PluginType,
        variables: Variables<'_>,
        stdin: &[u8],
    ) -> Result<Vec<u8>, Error> {
        if self.cni.go_on.as_ref().is_some_and(|go_on| !(go_on.0)()) {
            return Err(self.error(Some(plugin), Cause::GivenUp));
        }
        let path = self.find(plugin).await?;
        let env = self.environment(variables);
        let invocation = Invocation {
            path: &path,
            env: &env,
            stdin,
            root: self.cni.root.as_ref(),
            helper: self.cni.helper.as_ref(),
            cgroup: self.cni.cgroup.as_ref(),
        };
        let done = exec::run(&invocation, &self.cni.limits).await;
        match done {
            Ok(output) => {
                self.executed = true;
                if !output.stderr.is_empty() {
                    tracing::debug!(
                        command = %self.command,
                        network = self.network,
                        plugin = %plugin,
                        stderr = %String::from_utf8_lossy(&output.stderr),
                        "plugin wrote to standard error"
                    );
                }
                Ok(output.stdout)
            }
            Err(error) => {
                self.executed |= error.executed();
                Err(self.error(Some(plugin), error.into()))
            }
        }
    }

    /// Sets all variables, even those the command does not need: plugins distinguish empty from
    /// unset, and the reference library sets them all.
    fn environment(&self, variables: Variables<'_>) -> Vec<(OsString, OsString)> {
        let mut path = OsString::new();
        for (at, directory) in self.cni.path.iter().enumerate() {
            if at > 0 {
                path.push(":");
            }
            path.push(directory);
        }
        let mut env = self.cni.env.clone();
        let context = self.cni.trace_context.iter();
        env.extend(context.flat_map(|context| context()));
        env.extend([
            ("CNI_COMMAND".into(), self.command.as_str().into()),
            ("CNI_CONTAINERID".into(), variables.container_id.into()),
            ("CNI_NETNS".into(), variables.netns.into()),
            ("CNI_ARGS".into(), variables.args.into()),
            ("CNI_IFNAME".into(), variables.if_name.into()),
            ("CNI_PATH".into(), path),
        ]);
        env
    }
}

fn variables<'a>(runtime: &'a RuntimeConf, args: &'a str) -> Variables<'a> {
    Variables {
        container_id: runtime.container_id.as_str(),
        netns: &runtime.netns,
        if_name: runtime.if_name.as_str(),
        args,
    }
}

fn empty_result(cni_version: Version) -> CniResult {
    CniResult {
        cni_version,
        interfaces: Vec::new(),
        ips: Vec::new(),
        routes: Vec::new(),
        dns: Dns::default(),
    }
}
