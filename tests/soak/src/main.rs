//! A daemon under load for as long as asked: whether it has, at the end, no more memory, descriptors,
//! threads, files and children than at the beginning. To be run on a private node:
//!
//! ```text
//! tests/node/enter target/debug/cnidaria-soak 3600
//! ```
//!
//! The load comes in rounds. Between two rounds every pod is gone, so that what the daemon then has
//! is what it keeps.

#![expect(clippy::indexing_slicing, reason = "members of JSON that is made here")]

mod load;
mod sample;
mod trend;
mod verdict;

use std::env;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use node::Node;

use crate::load::Load;
use crate::sample::Sample;
use crate::verdict::Verdict;

/// How long a round lasts.
const ROUND: Duration = Duration::from_secs(7);
/// After so long the daemon has closed the last connections and given back what it does not use.
const QUIET: Duration = Duration::from_secs(3);
/// There have to be rounds enough to compare.
const SHORTEST: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let seconds = env::args().nth(1).and_then(|word| word.parse().ok());
    let Some(length) = seconds
        .map(Duration::from_secs)
        .filter(|length| *length >= SHORTEST)
    else {
        eprintln!(
            "usage: cnidaria-soak SECONDS, at least {}",
            SHORTEST.as_secs()
        );
        return ExitCode::from(2);
    };
    match soak(length) {
        Ok(verdict) => {
            println!("{verdict}");
            match verdict.is_flat() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::from(2)
        }
    }
}

fn soak(length: Duration) -> Result<Verdict, node::Error> {
    let mut node = Node::new()?;
    let mut load = Load::prepare(&mut node)?;
    let mut samples = Vec::new();
    let start = Instant::now();
    println!("{}", Sample::HEAD);
    while start.elapsed() < length {
        load.run(&mut node, ROUND)?;
        thread::sleep(QUIET);
        let sample = Sample::take(&node, start.elapsed(), load.calls())?;
        println!("{sample}");
        samples.push(sample);
    }
    Ok(Verdict::of(&samples))
}
