//! Executes one plugin: a constructed, not inherited, environment, standard input, bounded output,
//! and nothing left running past the deadline.

mod process;
mod running;
mod stream;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use cni_types::error::CniError;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};

use self::process::Program;
use self::running::{Input, Running, Streams};
use self::stream::Interrupted;
use crate::cgroup::Cgroup;
use crate::helper::Helper;
use crate::root::Root;

/// The `PATH` of plugins, for those that execute programs such as `iptables`.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Delays between retries while the binary is open for writing, in milliseconds.
const BUSY_PAUSES: [u64; 5] = [10, 50, 150, 400, 1000];

/// Bytes of output quoted in errors.
const EXCERPT: usize = 1024;

/// Limits of one execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Timeout from start to exit. When it expires, the plugin and all processes in its process
    /// group are killed.
    pub deadline: Duration,
    /// Maximum bytes of standard output; more is an error.
    pub stdout: usize,
    /// Bytes of standard error kept; more are read and dropped.
    pub stderr: usize,
}

impl Default for Limits {
    /// 60 seconds, 256 KiB and 64 KiB.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            stdout: 256 << 10,
            stderr: 64 << 10,
        }
    }
}

/// A binary with its environment and input.
#[derive(Clone, Debug)]
pub struct Invocation<'a> {
    /// Path of the binary; contains a slash, so that `PATH` is not searched.
    pub path: &'a Path,
    /// The complete environment.
    pub env: &'a [(OsString, OsString)],
    /// Standard input.
    pub stdin: &'a [u8],
    /// The plugin's root directory, if not the caller's; `path` is resolved inside it.
    pub root: Option<&'a Root>,
    /// The thread that starts the plugin, if not the caller's; a root directory has its own.
    pub helper: Option<&'a Helper>,
    /// The plugin's control group, if not the caller's.
    pub cgroup: Option<&'a Cgroup>,
}

/// Output of a plugin that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// The beginning of standard error.
    pub stderr: Vec<u8>,
}

/// Why an execution failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The binary could not be started.
    #[error("cannot execute {path:?}")]
    Spawn {
        /// The binary.
        path: PathBuf,
        /// The system error.
        #[source]
        source: io::Error,
    },
    /// The binary was open for writing until the last retry.
    #[error("cannot execute {path:?}: still open for writing after {attempts} attempts")]
    Busy {
        /// The binary.
        path: PathBuf,
        /// Number of attempts.
        attempts: usize,
    },
    /// The plugin exceeded its deadline and was killed with its process group.
    #[error("{path:?} did not finish within {deadline:?} and was killed{}", quoted("stderr", .stderr))]
    Deadline {
        /// The binary.
        path: PathBuf,
        /// [`Limits::deadline`].
        deadline: Duration,
        /// The beginning of its standard error.
        stderr: String,
    },
    /// The plugin printed more than the limit and was killed with its process group.
    #[error("{path:?} printed more than {limit} bytes and was killed")]
    OutputTooLarge {
        /// The binary.
        path: PathBuf,
        /// [`Limits::stdout`].
        limit: usize,
    },
    /// I/O on the pipes, or waiting for the plugin, failed.
    #[error("cannot communicate with {path:?}")]
    Io {
        /// The binary.
        path: PathBuf,
        /// The system error.
        #[source]
        source: io::Error,
    },
    /// The plugin returned an error object.
    #[error("{path:?} failed: {error}")]
    Answered {
        /// The binary.
        path: PathBuf,
        /// The error object, unmodified; its code is not 0.
        error: CniError,
        /// The beginning of its standard error.
        stderr: String,
    },
    /// The plugin failed without an error object that has a code.
    #[error("{path:?} failed ({status}) without a CNI error{}{}", quoted("stdout", .stdout), quoted("stderr", .stderr))]
    Unexplained {
        /// The binary.
        path: PathBuf,
        /// Exit code or signal.
        status: ExitStatus,
        /// The beginning of its standard output.
        stdout: String,
        /// The beginning of its standard error.
        stderr: String,
    },
}

impl Error {
    /// Whether the plugin ran and may have changed something.
    pub fn executed(&self) -> bool {
        !matches!(self, Self::Spawn { .. } | Self::Busy { .. })
    }

    /// Whether the plugin ran and was stopped before it answered: by its deadline or a signal.
    pub fn is_interruption(&self) -> bool {
        match self {
            Self::Deadline { .. } | Self::Io { .. } => true,
            Self::Unexplained { status, .. } => status.code().is_none(),
            Self::Spawn { .. }
            | Self::Busy { .. }
            | Self::OutputTooLarge { .. }
            | Self::Answered { .. } => false,
        }
    }

    /// Whether the plugin ran and answered with an error, which need not be an error object: a
    /// missing library or interpreter module leaves text on standard error, or nothing. Output
    /// beyond the limit is an answer that cannot be read.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Answered { .. } | Self::Unexplained { .. } | Self::OutputTooLarge { .. } => {
                !self.is_interruption()
            }
            _ => false,
        }
    }

    /// The error object that the plugin returned.
    pub fn answer(&self) -> Option<&CniError> {
        match self {
            Self::Answered { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Executes a plugin in its own process group and waits for it.
///
/// # Guarantees
/// When this future completes or is dropped before the plugin has exited, the whole process group
/// is killed. Processes that the plugin left running when it exited are not.
///
/// # Errors
/// [`Error`].
pub async fn run(invocation: &Invocation<'_>, limits: &Limits) -> Result<Output, Error> {
    let path = invocation.path;
    let deadline = Instant::now() + limits.deadline;
    let mut running = spawn(invocation, limits, deadline).await?;
    if let Some(cgroup) = invocation.cgroup {
        // Before the plugin gets its input, without which it does not start working.
        running.enter(cgroup);
    }
    let mut output = Output::default();
    let exchange = running.exchange(&mut output);
    let status = match timeout_at(deadline, exchange).await {
        Ok(Ok(status)) => status,
        Ok(Err(Interrupted::TooLarge)) => {
            running.kill().await;
            return Err(Error::OutputTooLarge {
                path: path.to_owned(),
                limit: limits.stdout,
            });
        }
        Ok(Err(Interrupted::Io(source))) => {
            running.kill().await;
            return Err(Error::Io {
                path: path.to_owned(),
                source,
            });
        }
        Err(_elapsed) => {
            running.kill().await;
            return Err(Error::Deadline {
                path: path.to_owned(),
                deadline: limits.deadline,
                stderr: excerpt(&output.stderr),
            });
        }
    };
    if status.success() {
        return Ok(output);
    }
    let stderr = excerpt(&output.stderr);
    Err(match CniError::parse(&output.stdout) {
        Some(error) => Error::Answered {
            path: path.to_owned(),
            error,
            stderr,
        },
        None => Error::Unexplained {
            path: path.to_owned(),
            status,
            stdout: excerpt(&output.stdout),
            stderr,
        },
    })
}

/// A process inherits the root directory of the thread that starts it.
async fn spawn_once<'a>(invocation: &Invocation<'a>, limits: &Limits) -> io::Result<Running<'a>> {
    let (stdin, input) = match invocation.cgroup {
        None => Input::filled(invocation.stdin)?,
        Some(_) => Input::held_back(invocation.stdin)?,
    };
    let (streams, [stdout, stderr]) = Streams::new(limits)?;
    let program = Program::new(invocation.path, invocation.env, [stdin, stdout, stderr])?;
    let helper = invocation.root.map(Root::helper).or(invocation.helper);
    let running = match helper {
        None => Running::new(program.start()?, streams),
        Some(helper) => {
            let runtime = Handle::current();
            // If the caller has stopped waiting, dropping the result kills the plugin.
            let start = move || {
                let _runtime = runtime.enter();
                Ok::<_, io::Error>(Running::new(program.start()?, streams))
            };
            helper.run(start).await??
        }
    };
    Ok(running.given(input))
}

async fn spawn<'a>(
    invocation: &Invocation<'a>,
    limits: &Limits,
    deadline: Instant,
) -> Result<Running<'a>, Error> {
    let path = invocation.path;
    let mut pauses = BUSY_PAUSES.into_iter();
    loop {
        match spawn_once(invocation, limits).await {
            Ok(running) => return Ok(running),
            Err(source) if source.kind() == io::ErrorKind::ExecutableFileBusy => {
                let pause = pauses.next().map(Duration::from_millis);
                match pause.filter(|pause| Instant::now() + *pause < deadline) {
                    Some(pause) => sleep(pause).await,
                    None => {
                        return Err(Error::Busy {
                            path: path.to_owned(),
                            attempts: BUSY_PAUSES.len() + 1 - pauses.len(),
                        });
                    }
                }
            }
            Err(source) => {
                return Err(Error::Spawn {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
}

/// The beginning of a plugin's output, for a message.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let head = bytes.get(..EXCERPT);
    let mut text = String::from_utf8_lossy(head.unwrap_or(bytes))
        .trim()
        .to_owned();
    if head.is_some() && bytes.len() > EXCERPT {
        text.push('…');
    }
    text
}

/// `, what: "text"` at the end of a message, or nothing.
pub(crate) fn quoted(what: &str, text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!(", {what}: {text:?}")
}
