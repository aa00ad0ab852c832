//! Forwards one call to the daemon. Only ADD waits for an unreachable daemon: a starting pod needs
//! it, while runtimes retry everything else themselves.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use cni_types::args::Command;
use cni_types::error::CniError;
use serde_json::value::RawValue;
use shim_api::exchange::{self, ConnectError};
use shim_api::{Request, endpoint, http, response};

use crate::conf::Conf;

/// Delay before the first retry; doubles up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The daemon is down, or closed without reading the request; for ADD, until its timeout.
    #[error("the daemon is not reachable at {}", socket.display())]
    Unreachable {
        socket: PathBuf,
        waited: Duration,
        source: ConnectError,
    },
    /// The socket is unusable, and waiting would not help.
    #[error("cannot connect to the daemon at {}", socket.display())]
    Connect {
        socket: PathBuf,
        source: ConnectError,
    },
    /// The request was at least partly sent, but no complete response arrived.
    #[error("no answer from the daemon at {}", socket.display())]
    Exchange {
        socket: PathBuf,
        source: exchange::Error,
    },
    /// The daemon's own error.
    #[error(transparent)]
    Answered(#[from] CniError),
}

/// Sends the call and waits for the raw result, which only ADD has.
pub(crate) fn forward(
    command: Command,
    request: &Request,
    conf: &Conf,
) -> Result<Option<Box<RawValue>>, Error> {
    let request = http::post(endpoint::CNI, &request.to_json());
    let start = Instant::now();
    let patience = match command {
        Command::Add => conf.add_connect_timeout,
        _ => Duration::ZERO,
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let outcome = attempt(&request, conf, start);
        let left = patience.saturating_sub(start.elapsed());
        if was_begun(&outcome) || left.is_zero() {
            let answer = outcome?;
            return Ok(response::parse(answer.status, &answer.body)?);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn attempt(request: &[u8], conf: &Conf, start: Instant) -> Result<http::Response, Error> {
    let socket = || conf.socket.clone();
    let stream = exchange::connect(&conf.socket).map_err(|source| match source {
        ConnectError::Unreachable(_) => Error::Unreachable {
            socket: socket(),
            waited: start.elapsed(),
            source,
        },
        _ => Error::Connect {
            socket: socket(),
            source,
        },
    })?;
    let deadline = Instant::now() + conf.answer_timeout;
    let answer = exchange::exchange(&stream, request, response::MAX_BODY_BYTES, deadline);
    answer.map_err(|source| match source {
        exchange::Error::Unread(source)
        | exchange::Error::Send {
            sent: 0, source, ..
        } => Error::Unreachable {
            socket: socket(),
            waited: start.elapsed(),
            source: ConnectError::Unreachable(source),
        },
        source => Error::Exchange {
            socket: socket(),
            source,
        },
    })
}

/// Whether the daemon may have changed something. If not, the call may be retried; otherwise a
/// second ADD would find what the first one left.
fn was_begun(outcome: &Result<http::Response, Error>) -> bool {
    match outcome {
        Ok(answer) => answer.status != response::STATUS_NOT_BEGUN,
        Err(Error::Unreachable { .. }) => false,
        Err(_) => true,
    }
}
