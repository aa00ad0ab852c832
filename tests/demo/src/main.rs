//! Shows Cnidaria at work: three pods, two networks, policies that help, deny and hang. Everything
//! is real but the cluster, and everything that is shown is verified: whatever is not as it should
//! be ends the demonstration with a sentence and exit code 1.
//!
//! Started by `tests/node/enter`, which gives it a private node; see `make demo`.

mod expect;
mod patches;
mod scene;
mod screen;
mod steps;

use std::process::ExitCode;
use std::time::Instant;

use node::Node;

/// Why the demonstration cannot go on.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The node itself does not work.
    #[error("{}", .0.chain())]
    Node(#[from] node::Error),
    /// What was seen is not what should be.
    #[error("{0}")]
    Unexpected(String),
}

fn main() -> ExitCode {
    let start = Instant::now();
    let mut log = String::new();
    match run(&mut log) {
        Ok(()) => {
            screen::closing(&format!(
                "Everything was as it should be. {:.1} s, and nothing stays behind.",
                start.elapsed().as_secs_f64()
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            screen::failure(&error.to_string(), &log);
            ExitCode::FAILURE
        }
    }
}

/// The demonstration. `log` gets the daemon's log when a step fails.
fn run(log: &mut String) -> Result<(), Error> {
    let mut node = Node::new()?;
    let result = play(&mut node);
    if result.is_err() {
        *log = node.log();
    }
    result
}

fn play(node: &mut Node) -> Result<(), Error> {
    let pods = scene::set(node)?;
    steps::node::show(node)?;
    steps::attach::show(node, &pods.web)?;
    steps::patches::show(node)?;
    steps::inside::show(node, &pods.web)?;
    steps::check::show(node, &pods.web)?;
    steps::deny::show(node, &pods.intruder)?;
    steps::endless::show(node, &pods.patient)?;
    steps::detach::show(node, &pods.web)?;
    Ok(())
}
