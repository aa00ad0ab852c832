//! The workflows only call targets of the Makefile, so that the same commands work locally.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cnidaria_docs_tests::ROOT;
use serde_json::Value;

/// What a fresh container needs before the checkout.
const PREPARATION: &str =
    "apt-get update && apt-get install --yes --no-install-recommends ca-certificates curl git make";

/// The workflows, as the JSON they stand for.
fn workflows() -> Vec<Value> {
    let directory = Path::new(ROOT).join(".github/workflows");
    let files = fs::read_dir(directory).unwrap();
    let read = |path| fs::read_to_string(path).unwrap();
    files
        .map(|file| serde_saphyr::from_str(&read(file.unwrap().path())).unwrap())
        .collect()
}

/// The commands of all jobs.
fn commands(workflow: &Value) -> Vec<String> {
    let jobs = workflow.get("jobs").and_then(Value::as_object).unwrap();
    let steps = jobs
        .values()
        .flat_map(|job| job.get("steps").unwrap().as_array().unwrap());
    steps
        .filter_map(|step| Some(step.get("run")?.as_str().unwrap().to_owned()))
        .filter(|command| command != PREPARATION)
        .collect()
}

#[test]
fn workflows_call_existing_make_targets() {
    let makefile = fs::read_to_string(Path::new(ROOT).join("Makefile")).unwrap();
    let phony = makefile
        .lines()
        .filter_map(|line| line.strip_prefix(".PHONY: "));
    let targets: BTreeSet<_> = phony.map(|target| format!("make {target}")).collect();
    let called: BTreeSet<_> = workflows().iter().flat_map(commands).collect();
    let unknown: Vec<_> = called.difference(&targets).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    for target in ["lint", "test", "advisories", "fuzz", "msrv", "release"] {
        assert!(
            called.contains(&format!("make {target}")),
            "no workflow calls {target}"
        );
    }
}
