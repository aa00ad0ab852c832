//! Any implementation that answers CNI calls: its socket, its shim, and how to call them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use shim_api::admin::Record;
use shim_api::{Request, endpoint, exchange, http};

use crate::error::Error;
use crate::manifests;
use crate::process::Process;
use crate::program::Program;

/// Time limit for a call.
const PATIENCE: Duration = Duration::from_secs(240);
const MAX_ANSWER: usize = 8 << 20;

/// A running daemon and its shim.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) socket: PathBuf,
    pub(crate) shim: PathBuf,
    /// The shim's standard input.
    pub(crate) conf: Vec<u8>,
    /// A network namespace; with no-op delegates it can serve many pods.
    pub(crate) netns: String,
    /// Directories of delegates: `CNI_PATH`.
    pub(crate) plugins: String,
    /// Whether the pods have the UIDs of our manifests.
    pub(crate) knows_uids: bool,
}

/// Whether a call goes through the shim or directly to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Shim,
    Socket,
}

/// A prepared call: only what is measured remains to be done.
pub(crate) struct Call<'a> {
    target: &'a Target,
    what: String,
    made: Made,
}

enum Made {
    Program(Program),
    Request(Vec<u8>),
}

impl Target {
    /// The daemon's policy list, as JSON.
    pub(crate) fn policies(&self) -> Result<String, Error> {
        self.get(endpoint::POLICIES)
    }

    /// What the daemon has at one of its paths.
    pub(crate) fn get(&self, path: &str) -> Result<String, Error> {
        self.succeed(path, &http::get(path))
    }

    /// Has the daemon record requests, or not.
    pub(crate) fn record(&self, action: Record) -> Result<(), Error> {
        let body = serde_json::to_vec(&action).unwrap_or_default();
        let request = http::post(endpoint::RECORD, &body);
        self.succeed(endpoint::RECORD, &request).map(drop)
    }

    fn succeed(&self, path: &str, request: &[u8]) -> Result<String, Error> {
        let (status, body) = ask(self, request)?;
        let text = String::from_utf8_lossy(&body).into_owned();
        match status {
            200 => Ok(text),
            _ => Err(Error::Failed {
                what: path.to_owned(),
                said: format!("{status} {text}"),
            }),
        }
    }

    /// Whether the daemon still compiles or loads a policy. It serves meanwhile, but refuses pods.
    pub(crate) fn is_loading(&self) -> Result<bool, Error> {
        Ok(self.policies()?.contains("\"loading\""))
    }

    pub(crate) fn process(&self) -> Result<Process, Error> {
        Process::listening_on(&self.socket)
    }

    /// The `CNI_*` variables that the runtime sets for a sandbox.
    pub(crate) fn variables(
        &self,
        command: &str,
        container: &str,
        pod: &str,
    ) -> BTreeMap<String, String> {
        let mut arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_INFRA_CONTAINER_ID={container}"
        );
        if self.knows_uids {
            arguments.push_str(&format!(";K8S_POD_UID={}", manifests::uid(pod)));
        }
        [
            ("CNI_COMMAND", command.to_owned()),
            ("CNI_CONTAINERID", container.to_owned()),
            ("CNI_NETNS", self.netns.clone()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_PATH", self.plugins.clone()),
            ("CNI_ARGS", arguments),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    pub(crate) fn call(&self, way: Way, command: &str, container: &str, pod: &str) -> Call<'_> {
        let variables = self.variables(command, container, pod);
        let made = match way {
            Way::Shim => Made::Program(Program {
                path: self.shim.clone(),
                env: variables.into_iter().collect(),
                stdin: self.conf.clone(),
            }),
            Way::Socket => {
                let request = Request {
                    env: variables,
                    config: self.conf.clone(),
                    interface_attributes: None,
                };
                Made::Request(http::post(endpoint::CNI, &request.to_json()))
            }
        };
        Call {
            target: self,
            what: format!("{command} for {pod}"),
            made,
        }
    }

    /// Makes an ADD, then a DEL; returns how long each took.
    pub(crate) fn add_and_del(
        &self,
        way: Way,
        container: &str,
        pod: &str,
    ) -> Result<(Duration, Duration), Error> {
        let add = self.call(way, "ADD", container, pod).make()?;
        let del = self.call(way, "DEL", container, pod).make()?;
        Ok((add, del))
    }
}

impl Call<'_> {
    /// Makes the call; fails unless it succeeds.
    pub(crate) fn make(&self) -> Result<Duration, Error> {
        match &self.made {
            Made::Program(program) => Ok(program.succeed()?.took),
            Made::Request(bytes) => self.answered(bytes, 200),
        }
    }

    /// Makes the call; fails unless the daemon refuses it.
    pub(crate) fn refused(&self) -> Result<Duration, Error> {
        match &self.made {
            Made::Program(program) => Ok(program.run()?.took),
            Made::Request(bytes) => self.answered(bytes, 400),
        }
    }

    fn answered(&self, bytes: &[u8], wanted: u16) -> Result<Duration, Error> {
        let start = Instant::now();
        let (status, body) = ask(self.target, bytes)?;
        let took = start.elapsed();
        if status == wanted {
            return Ok(took);
        }
        Err(Error::Failed {
            what: self.what.clone(),
            said: format!("{status} {}", String::from_utf8_lossy(&body)),
        })
    }
}

fn ask(target: &Target, request: &[u8]) -> Result<(u16, Vec<u8>), Error> {
    let stream = loop {
        match exchange::connect(&target.socket) {
            Ok(stream) => break stream,
            // A full backlog means a slow daemon, not an absent one.
            Err(exchange::ConnectError::Unreachable(error))
                if error.kind() == std::io::ErrorKind::WouldBlock =>
            {
                std::thread::sleep(Duration::from_micros(200));
            }
            Err(source) => {
                return Err(Error::Connect {
                    socket: target.socket.clone(),
                    source,
                });
            }
        }
    };
    let deadline = Instant::now() + PATIENCE;
    exchange::exchange(&stream, request, MAX_ANSWER, deadline)
        .map(|answer| (answer.status, answer.body))
        .map_err(|source| Error::Exchange {
            socket: target.socket.clone(),
            source,
        })
}

/// Whether the daemon at a socket is ready.
pub(crate) fn is_ready(socket: &std::path::Path) -> bool {
    let Ok(stream) = exchange::connect(socket) else {
        return false;
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    exchange::exchange(&stream, &http::get(endpoint::READYZ), MAX_ANSWER, deadline)
        .is_ok_and(|answer| answer.status == 200)
}
