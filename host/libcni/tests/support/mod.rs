//! Plugins as shell scripts that record their input and answer as a test wants.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cni_types::args::{CniArgs, ContainerId, IfName};
use cni_types::conf::NetworkConfList;
use cni_types::json::RawObject;
use libcni::{Cni, RuntimeConf};
use tempfile::TempDir;

/// Records its environment and input under `calls/`, then prints `<name>.<command>.json` and exits
/// with the code in `<name>.<command>.exit`, if these files exist.
const RECORDER: &str = r#"#!/bin/sh
dir=${0%/*} name=${0##*/}
number=$(ls "$dir/calls" | wc -l)
call=$(printf '%s/calls/%02d' "$dir" "$number")
mkdir "$call"
echo "$name" > "$call/plugin"
cat > "$call/stdin"
env > "$call/env"
answer=$dir/$name.$CNI_COMMAND
[ -f "$answer.json" ] && cat "$answer.json"
[ -f "$answer.exit" ] && exit "$(cat "$answer.exit")"
exit 0
"#;

/// A directory of plugins.
pub(crate) struct Plugins {
    pub(crate) dir: TempDir,
}

/// One recorded execution.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) plugin: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) stdin: String,
}

impl Call {
    pub(crate) fn command(&self) -> &str {
        &self.env["CNI_COMMAND"]
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdin).unwrap()
    }
}

impl Plugins {
    /// Plugins that record their calls and succeed without output.
    pub(crate) fn recording(names: &[&str]) -> Self {
        let plugins = Self::new();
        fs::create_dir(plugins.path().join("calls")).unwrap();
        for name in names {
            plugins.script(name, RECORDER);
        }
        plugins
    }

    pub(crate) fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn cni(&self) -> Cni {
        Cni::new([self.path()])
    }

    /// Installs a script.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Makes a recording plugin print something for a command.
    pub(crate) fn answer(&self, name: &str, command: &str, json: &str) {
        fs::write(self.path().join(format!("{name}.{command}.json")), json).unwrap();
    }

    /// Makes a recording plugin fail with an error object.
    pub(crate) fn fail(&self, name: &str, command: &str, json: &str) {
        self.answer(name, command, json);
        fs::write(self.path().join(format!("{name}.{command}.exit")), "1").unwrap();
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        let mut calls: Vec<_> = fs::read_dir(self.path().join("calls"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        calls.sort();
        calls.iter().map(|path| read_call(path)).collect()
    }

    /// Plugins and commands in order of execution.
    pub(crate) fn order(&self) -> Vec<String> {
        let calls = self.calls();
        calls
            .iter()
            .map(|call| format!("{} {}", call.plugin, call.command()))
            .collect()
    }
}

fn read_call(path: &Path) -> Call {
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    Call {
        plugin: read("plugin").trim().to_owned(),
        env: read("env")
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        stdin: read("stdin"),
    }
}

pub(crate) fn list(text: &str) -> NetworkConfList {
    NetworkConfList::parse_any(text).unwrap()
}

pub(crate) fn runtime(capability_args: &str) -> RuntimeConf {
    RuntimeConf {
        container_id: ContainerId::new("cid-1").unwrap(),
        netns: "/run/netns/blue".to_owned(),
        if_name: IfName::new("eth0").unwrap(),
        args: CniArgs::parse("argA=foo").unwrap(),
        capability_args: RawObject::parse(capability_args).unwrap(),
    }
}
