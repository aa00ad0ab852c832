//! Records real requests of a daemon and replays them. With the same policy, the replay must name no
//! request; with a changed one, exactly the affected requests. Run it on a private node:
//!
//! ```text
//! tests/node/enter target/debug/cnidaria-recording 10000
//! ```

#![expect(clippy::indexing_slicing, reason = "members of JSON that is made here")]

mod load;
mod replay;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use node::Node;
use serde_json::{Value, json};

use crate::load::Load;

/// Limit of the recording: no request of a run may make room for another.
const MAX_BYTES: u64 = 1 << 30;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The node does not work.
    #[error(transparent)]
    Node(#[from] node::Error),
    /// The recording or its replay is not as expected.
    #[error("{0}")]
    Wrong(String),
}

fn main() -> ExitCode {
    let requests = env::args().nth(1).and_then(|word| word.parse().ok());
    let Some(requests) = requests.filter(|requests| *requests > 0) else {
        eprintln!("usage: cnidaria-recording REQUESTS");
        return ExitCode::from(2);
    };
    match run(requests) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: u64) -> Result<(), Error> {
    let mut node = Node::new()?;
    let mut load = Load::prepare(&mut node)?;
    let start = Instant::now();
    let mut recorded = 0;
    while recorded < wanted {
        load.round(&node)?;
        let status = status(&node)?;
        recorded = status["requests"].as_u64().unwrap_or_default();
        if status["lost"] != 0 {
            return Err(Error::Wrong(format!("requests are lost: {status}")));
        }
    }
    let file = export(&node)?;
    println!(
        "{recorded} requests of {} calls recorded in {:.0} s",
        load.calls(),
        start.elapsed().as_secs_f64()
    );
    node.stop_daemon()?;
    let same = replay::replay(&node, &file, &load::unchanged())?;
    same.expect_no_difference(recorded)?;
    println!("the same policy: {same}");
    let changed = replay::replay(&node, &file, &load::changed())?;
    changed.expect_denials(&load.affected())?;
    println!("the changed policy: {changed}");
    Ok(())
}

/// The recording's state, once everything that was waiting is written.
fn status(node: &Node) -> Result<Value, Error> {
    let arguments = ["--output", "json", "policy", "record", "status"];
    let text = node.command_line(&arguments)?;
    serde_json::from_str(&text).map_err(|error| Error::Wrong(format!("{error}: {text}")))
}

fn export(node: &Node) -> Result<PathBuf, Error> {
    let file = node.path("requests.rec");
    node.command_line(&["policy", "record", "export", &file.display().to_string()])?;
    Ok(file)
}

/// The daemon's configuration of the recording.
pub(crate) fn record(node: &Node) -> Value {
    json!({ "directory": node.path("record"), "maxBytes": MAX_BYTES })
}
