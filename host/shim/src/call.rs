//! The runtime's input: `CNI_*` variables and standard input. Both are validated before anything is
//! sent, so that an invalid call changes nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read, Stdin};
use std::os::unix::fs::MetadataExt as _;

use cni_types::args::{Command, EnvironmentError, Parameters};
use cni_types::json::RawObject;
use cni_types::version::Version;
use rustix::event::{PollFd, PollFlags, Timespec};
use shim_api::Request;
use shim_api::request::MAX_CONFIG_BYTES;

use crate::netns::OWN as OWN_NETNS;

/// Prefix of the variables that are read and forwarded.
const PREFIX: &str = "CNI_";

/// The context of the runtime's trace, forwarded too, and how long each variable may be: any version
/// that may be of use is shorter.
const TRACE_CONTEXT: [(&str, usize); 2] = [("TRACEPARENT", 256), ("TRACESTATE", 4096)];

/// How long VERSION waits for its input, and how much of it is read.
const VERSION_PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};
const VERSION_BYTES: usize = 1024;

/// Why a call cannot be forwarded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// All missing or malformed variables.
    #[error("{}", environment_message(.not_utf8, .parameters.as_ref()))]
    Environment {
        not_utf8: Vec<String>,
        parameters: Option<EnvironmentError>,
    },
    /// Standard input could not be read.
    #[error("cannot read the network configuration from standard input")]
    Read(#[source] io::Error),
    /// Standard input is larger than [`MAX_CONFIG_BYTES`].
    #[error("the network configuration is larger than {MAX_CONFIG_BYTES} bytes")]
    ConfigTooLarge,
    /// `CNI_NETNS` is the plugin's own namespace.
    #[error("CNI_NETNS {netns:?} is the network namespace of the plugin itself")]
    OwnNetns { netns: String },
}

/// The `CNI_*` variables of this process and its trace's context, without the rest of its environment.
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
    not_utf8: Vec<String>,
    /// [`TRACE_CONTEXT`], as it is: the daemon ignores what is malformed.
    trace_context: Vec<(String, String)>,
}

impl Environment {
    pub(crate) fn of_process() -> Self {
        Self::new(std::env::vars_os())
    }

    fn new(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self {
            variables: BTreeMap::new(),
            not_utf8: Vec::new(),
            trace_context: Vec::new(),
        };
        for (name, value) in variables {
            let mut context = TRACE_CONTEXT.iter();
            if let Some((name, limit)) = context.find(|(known, _)| name == *known) {
                let value = value.into_string().ok();
                let value = value.filter(|value| !value.is_empty() && value.len() <= *limit);
                let context = value.map(|value| ((*name).to_owned(), value));
                environment.trace_context.extend(context);
                continue;
            }
            if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            let known = name.to_string_lossy().into_owned();
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => {
                    environment.variables.insert(name, value);
                }
                _ => environment.not_utf8.push(known),
            }
        }
        environment
    }

    /// The variable `name`; an empty one counts as unset.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The parameters of the call, validated for its command.
    pub(crate) fn parameters(&self) -> Result<Parameters, Error> {
        let parameters = Parameters::from_env(|name| self.get(name));
        match parameters {
            // A DEL has its container: it goes on without the others.
            Ok(parameters) if self.not_utf8.is_empty() || parameters.command == Command::Del => {
                Ok(parameters)
            }
            parameters => Err(Error::Environment {
                not_utf8: self.not_utf8.clone(),
                parameters: parameters.err(),
            }),
        }
    }

    /// The request that forwards the call.
    pub(crate) fn to_request(&self, config: Vec<u8>) -> Request {
        let mut env = self.variables.clone();
        env.extend(self.trace_context.iter().cloned());
        Request {
            env,
            config,
            interface_attributes: None,
        }
    }
}

/// Reads the network configuration, up to [`MAX_CONFIG_BYTES`].
pub(crate) fn read_config(stdin: impl Read) -> Result<Vec<u8>, Error> {
    let mut config = Vec::new();
    stdin
        .take(MAX_CONFIG_BYTES as u64 + 1)
        .read_to_end(&mut config)
        .map_err(Error::Read)?;
    if config.len() > MAX_CONFIG_BYTES {
        return Err(Error::ConfigTooLarge);
    }
    Ok(config)
}

/// The version in which VERSION is requested. It should be on standard input, but runtimes and
/// people omit it, some leaving the pipe open. So only immediately available input is read.
pub(crate) fn asked_version(mut stdin: &Stdin) -> Version {
    let mut poll = [PollFd::new(stdin, PollFlags::IN)];
    if stdin.is_terminal() || rustix::event::poll(&mut poll, Some(&VERSION_PATIENCE)) != Ok(1) {
        return Version::LATEST;
    }
    let mut buffer = [0; VERSION_BYTES];
    // A single read: the end of input may never come.
    let count = stdin.read(&mut buffer).unwrap_or_default();
    RawObject::parse(buffer.get(..count).unwrap_or_default())
        .ok()
        .and_then(|object| object.get_as("cniVersion").ok().flatten())
        .and_then(|version: String| version.parse().ok())
        .unwrap_or(Version::LATEST)
}

/// Rejects adding the node's own namespace to a network, which would cost the node its routes.
/// `CNI_NETNS_OVERRIDE` disables the check, as in the CNI library for Go. The daemon, which sees
/// the node's file system, checks paths that are inaccessible here.
pub(crate) fn check_netns(parameters: &Parameters, environment: &Environment) -> Result<(), Error> {
    let overridden = environment
        .get("CNI_NETNS_OVERRIDE")
        .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"));
    if parameters.command != Command::Add || overridden {
        return Ok(());
    }
    let Some(netns) = &parameters.netns else {
        return Ok(());
    };
    let identity = |path: &str| {
        std::fs::metadata(path)
            .ok()
            .map(|metadata| (metadata.dev(), metadata.ino()))
    };
    match identity(netns) {
        Some(theirs) if Some(theirs) == identity(OWN_NETNS) => Err(Error::OwnNetns {
            netns: netns.clone(),
        }),
        _ => Ok(()),
    }
}

fn environment_message(not_utf8: &[String], parameters: Option<&EnvironmentError>) -> String {
    let mut parts = Vec::new();
    if !not_utf8.is_empty() {
        parts.push(format!(
            "env variables [{}] are not UTF-8",
            not_utf8.join(",")
        ));
    }
    parts.extend(parameters.map(ToString::to_string));
    parts.join("; ")
}
