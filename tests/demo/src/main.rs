//! Shows Cnidaria at work: three pods, two networks, and policies that help, deny and hang.
//! Everything is real except the cluster, and everything shown is verified: any deviation ends the
//! demo with a message and exit code 1.
//!
//! `tests/node/enter` starts it on a private node; see `make demo`.

mod expect;
mod patches;
mod scene;
mod screen;
mod steps;

use std::process::ExitCode;
use std::time::Instant;

use node::Node;

/// Why the demo stopped.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The node itself failed.
    #[error("{}", .0.chain())]
    Node(#[from] node::Error),
    /// A verification failed.
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

/// Runs the demo. `log` receives the daemon's log if a step fails.
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
