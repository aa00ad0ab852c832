//! Puts a daemon under load for a given time and checks that memory, descriptors, threads, files
//! and children have not grown. Run it on a private node:
//!
//! ```text
//! tests/node/enter target/debug/cnidaria-soak 3600
//! ```
//!
//! The load comes in rounds. Between rounds no pod exists, so a sample shows what the daemon
//! retains.

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
/// By then the daemon has closed its last connections and released unused memory.
const QUIET: Duration = Duration::from_secs(3);
/// Long enough for several rounds to compare.
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
