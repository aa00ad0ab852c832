//! Replaces the installation while pods come and go. Run it on a private node:
//!
//! ```text
//! tests/node/enter target/debug/cnidaria-churn [PODS [SWAPS [DIRECTORY…]]]
//! ```
//!
//! Each directory has the binaries of another version, with which this one takes turns.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use churn::{Error, Plan, Report, Version};
use node::Node;

const PODS: usize = 10_000;
const SWAPS: usize = 50;
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    match churn() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn churn() -> Result<Report, Error> {
    let mut arguments = env::args().skip(1);
    let mut number = |default| {
        let argument = arguments.next();
        argument
            .and_then(|word| word.parse().ok())
            .unwrap_or(default)
    };
    let (pods, swaps) = (number(PODS), number(SWAPS));
    let mut versions = vec![Version::of_this_build()?];
    versions.extend(arguments.map(|dir| Version::in_dir(Path::new(&dir))));
    let plan = Plan {
        pods,
        swaps,
        at_once: AT_ONCE,
        versions,
    };
    churn::run(&mut Node::new()?, &plan)
}
