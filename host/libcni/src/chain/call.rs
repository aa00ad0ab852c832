//! One call on one network while it runs: which plugin it is at, and whether any has run.

use std::ffi::OsString;
use std::path::PathBuf;

use cni_types::args::{Command, PluginType};
use cni_types::conf::{NetworkConfList, PluginConf};
use cni_types::json::{self, RawObject};
use cni_types::result::CniResult;

use super::{Cause, Cni, Error};
use crate::exec::{self, Invocation};
use crate::find;
use crate::request::{self, RuntimeConf};

/// One call on one network while it runs.
pub(super) struct Call<'a> {
    pub(super) cni: &'a Cni,
    pub(super) command: Command,
    /// Name of the network; empty for VERSION.
    pub(super) network: &'a str,
    pub(super) executed: bool,
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
        }
    }

    pub(super) fn error(&self, plugin: Option<&PluginType>, source: Cause) -> Error {
        Error {
            command: self.command,
            network: self.network.to_owned(),
            plugin: plugin.cloned(),
            executed: self.executed,
            source: Box::new(source),
        }
    }

    pub(super) fn failed(&self, plugin: &PluginConf, source: Cause) -> Error {
        self.error(Some(plugin.plugin_type()), source)
    }

    /// ADD, CHECK or DEL of one plugin, with the result so far in the configuration's version.
    pub(super) async fn attachment(
        &mut self,
        list: &NetworkConfList,
        plugin: &PluginConf,
        runtime: &RuntimeConf,
        result: Option<&CniResult>,
    ) -> Result<Vec<u8>, Error> {
        let version = list.cni_version().effective();
        let prev_result = result
            .map(|result| result.to_raw(version))
            .transpose()
            .map_err(|error| self.failed(plugin, Cause::PrevResult(error)))?;
        let request = request::attachment(list, plugin, runtime, prev_result)
            .map_err(|error| self.failed(plugin, error.into()))?;
        let variables = Variables {
            container_id: runtime.container_id.as_str(),
            netns: &runtime.netns,
            if_name: runtime.if_name.as_str(),
            args: &runtime.args.to_string(),
        };
        self.execute(
            plugin.plugin_type(),
            variables,
            request.to_string().as_bytes(),
        )
        .await
    }

    /// GC or STATUS of one plugin.
    pub(super) async fn network(
        &mut self,
        plugin: &PluginConf,
        request: Result<RawObject, json::Error>,
    ) -> Result<(), Error> {
        let request = request.map_err(|error| self.failed(plugin, error.into()))?;
        self.execute(
            plugin.plugin_type(),
            Variables::default(),
            request.to_string().as_bytes(),
        )
        .await
        .map(drop)
    }

    /// The binary of a plugin.
    pub(super) fn find(&self, plugin: &PluginType) -> Result<PathBuf, Error> {
        find::find(plugin, &self.cni.path).map_err(|error| self.error(Some(plugin), error.into()))
    }

    /// Finds and executes one plugin, and returns its standard output.
    pub(super) async fn execute(
        &mut self,
        plugin: &PluginType,
        variables: Variables<'_>,
        stdin: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let path = self.find(plugin)?;
        let env = self.environment(variables);
        let invocation = Invocation {
            path: &path,
            env: &env,
            stdin,
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

    /// All variables, also those that the command does not need: plugins tell "empty" from "not
    /// set", and the reference library sets them all.
    fn environment(&self, variables: Variables<'_>) -> Vec<(OsString, OsString)> {
        let mut path = OsString::new();
        for (at, directory) in self.cni.path.iter().enumerate() {
            if at > 0 {
                path.push(":");
            }
            path.push(directory);
        }
        let mut env = self.cni.env.clone();
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
