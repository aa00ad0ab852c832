//! What large modules cost: compiling one of 7 MB, and an instance at the limits of footprints.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::deployment::Site;
use crate::error::Error;
use crate::manifests::{pod, single};
use crate::process::Process;
use crate::report::Report;
use crate::samples::Samples;
use crate::target::Way;

/// Bytes of the large module.
const LARGE: usize = 7_000_000;
/// Instances of the policy with many globals, and globals of each.
const INSTANCES: usize = 14;
const GLOBALS: usize = 4_000;
/// The goal of one instance, in milliseconds.
const INSTANCE: f64 = 10.0;
/// The daemon's default limits of a compilation, in seconds and MiB.
const SECONDS: f64 = 120.0;
const MEMORY: f64 = 1024.0;
const WARMING: usize = 3;
const POLL: Duration = Duration::from_millis(2);

/// Measures both.
pub(crate) fn run(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    compiling(report, site)?;
    instances(report, site, rounds)
}

/// Memory and time of one compilation, with the limits of the daemon's.
fn compiling(report: &mut Report, site: &Site) -> Result<(), Error> {
    let deployment = site.deployment("modules")?;
    let module = large()?;
    deployment.write("large.wasm", &module)?;
    let compiler = site.binaries.command_line()?;
    let failed = |source| Error::Start {
        program: compiler.display().to_string(),
        source,
    };
    let start = Instant::now();
    let mut child = Command::new(&compiler)
        .args(["policy", "compile", "--out"])
        .arg(deployment.path("large.cwasm"))
        .arg(deployment.path("large.wasm"))
        .stdout(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut peak: f64 = 0.0;
    let status = loop {
        // The kernel reports it for as long as the process runs.
        peak = Process(child.id()).peak().unwrap_or(0.0).max(peak);
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None => thread::sleep(POLL),
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        return Err(Error::Failed {
            what: "compiling a large module".to_owned(),
            said: status.to_string(),
        });
    }
    let size = format!("{:.1} MB", module.len() as f64 / 1e6);
    for (name, what, unit, value, limit) in [
        ("seconds", "time", "s", seconds, SECONDS),
        ("memory", "memory", "MiB", peak, MEMORY),
    ] {
        let what = format!("compiling a module of {size}, {what}");
        report.number(&format!("modules.compile.{name}"), &what, unit, value);
        let (goal, shown) = (format!("≤ {limit} {unit}"), format!("{value:.1} {unit}"));
        report.goal(&what, &goal, shown, value, limit);
    }
    Ok(())
}

fn instances(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    let (none, mut some) = (
        site.deployment("instances.none")?,
        site.deployment("instances")?,
    );
    for deployment in [&none, &some] {
        deployment.add(&[pod(&single(0), 0)])?;
    }
    some.write("large.wasm", wide()?)?;
    some.write("large.json", json!({}).to_string())?;
    some.add_modules(&some.path("large.wasm"), 1)?;
    let (none, some) = (none.start()?, some.start()?);
    let mut samples = Samples::default();
    for round in 0..WARMING + rounds {
        let mut times = Vec::new();
        for running in [&none, &some] {
            let call = running.target.call(Way::Socket, "STATUS", "", &single(0));
            times.push(call.make()?.as_secs_f64() * 1_000.0);
        }
        if let ([none, some], true) = (times.as_slice(), round >= WARMING) {
            samples.push(some - none);
        }
    }
    let what = "an instance with the most globals, STATUS";
    report.measure("modules.instance", what, "ms", &samples);
    let median = samples.median();
    report.goal(what, "≤ 10 ms", format!("{median:.1} ms"), median, INSTANCE);
    Ok(())
}

/// A policy with the hook status, whose core module has these items, and other core instances.
fn policy(items: &str, others: &str) -> Result<Vec<u8>, Error> {
    let text = format!(
        r#"(component
        (component $hook (type $f (func (result (result (error string))))) (import "status" (func $g (type $f))) (export "status" (func $g)))
        {others}
        (core module $m (memory (export "memory") 1) {items} (func (export "status") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $status (result (result (error string))) (canon lift (core func $i "status") (memory (core memory $i "memory"))))
        (instance $hook-instance (instantiate $hook (with "status" (func $status))))
        (export "cnidaria:policy/status@0.1.0" (instance $hook-instance)))"#
    );
    wat::parse_str(text).map_err(|error| Error::Failed {
        what: "making a module".to_owned(),
        said: error.to_string(),
    })
}

/// A module of many functions that look like real ones.
fn large() -> Result<Vec<u8>, Error> {
    let step = "(local.set 0 (i64.xor (i64.add (local.get 0) (local.get 1)) (i64.load offset=8 (i32.wrap_i64 (local.get 1)))))
        (if (i64.eqz (local.get 0)) (then (local.set 1 (i64.const 7))))";
    let function = format!("(func (param i64 i64) {})", step.repeat(40));
    let one = policy(&function, "")?.len() - policy("", "")?.len();
    policy(&function.repeat(LARGE / one.max(1)), "")
}

fn wide() -> Result<Vec<u8>, Error> {
    let globals = "(global (mut i64) (i64.const 0))".repeat(GLOBALS);
    let instances = "(core instance (instantiate $g))".repeat(INSTANCES);
    policy("", &format!("(core module $g {globals}) {instances}"))
}
