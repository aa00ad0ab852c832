//! What operators run on a full node: a scrape of the metrics and `cnidaria doctor`; and what traces
//! cost.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shim_api::endpoint;

use super::policies::{alternately, prepared};
use crate::collector::Collector;
use crate::deployment::Site;
use crate::error::Error;
use crate::manifests::{self, NETWORKS, NODE, storm};
use crate::report::Report;
use crate::samples::Samples;
use crate::target::Way;

const MODULE: &str = "both-sides";
const POLICIES: usize = 10;
const WARMING: usize = 3;
/// Goals in milliseconds.
const SCRAPE: f64 = 20.0;
const DOCTOR: f64 = 1000.0;
/// Exit code of `cnidaria doctor` for a node with faults, as this one without a runtime has.
const FAULTS: i32 = 5;

/// Measures all.
pub(crate) fn run(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    full_node(report, site, rounds / 10)?;
    traces(report, site, rounds)
}

fn full_node(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    let mut deployment = site.deployment("full-node")?;
    deployment.set("podNetworkMetrics", true.into());
    deployment.add(&manifests::all())?;
    deployment.add_policies(MODULE, POLICIES)?;
    let running = deployment.start()?;
    let target = &running.target;
    for number in 0..NODE {
        let container = format!("full-{number}");
        target
            .call(Way::Socket, "ADD", &container, &storm(number))
            .make()?;
    }
    let interfaces = NODE * (1 + NETWORKS);
    let [mut scrapes, mut doctors] = [(); 2].map(|()| Samples::default());
    let mut size = 0;
    for round in 0..WARMING + rounds {
        let start = Instant::now();
        let text = target.get(endpoint::METRICS)?;
        let took = start.elapsed();
        let series = text.matches("pod_network_name_info{").count();
        if series != interfaces {
            return Err(Error::Failed {
                what: "scraping".to_owned(),
                said: format!("{series} series of {interfaces} interfaces"),
            });
        }
        size = text.len();
        if round >= WARMING {
            scrapes.push_time(took);
        }
    }
    let node = format!("{NODE} pods, {interfaces} interfaces");
    let kb = size as f64 / 1e3;
    report.measure(
        "operating.scrape",
        &format!("a scrape of {kb:.0} KB, {node}"),
        "ms",
        &scrapes,
    );
    goal(report, &format!("a scrape, {node}"), &scrapes, SCRAPE);
    let mut doctor = Command::new(site.binaries.command_line()?);
    doctor
        .args(["--output", "json", "doctor", "--config"])
        .arg(deployment.path("daemon-config.json"))
        .arg("--bin-dir")
        .arg(site.plugins())
        .env("CNI_PATH", site.plugins());
    for round in 0..WARMING + rounds {
        let (took, output) = timed(&mut doctor)?;
        if !matches!(output.status.code(), Some(0 | FAULTS)) {
            return Err(failed("cnidaria doctor", &output));
        }
        if round >= WARMING {
            doctors.push_time(took);
        }
    }
    let what = format!("cnidaria doctor, {node}");
    report.measure("operating.doctor", &what, "ms", &doctors);
    goal(report, &what, &doctors, DOCTOR);
    Ok(())
}

/// ADDs of daemons without traces, the last of them twice to show what equal daemons differ by, with
/// traces, and with their export.
fn traces(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    let collector = Collector::start()?;
    let settings: [(&str, Value); 4] = [
        ("off", json!({ "requests": 0 })),
        ("off-again", json!({ "requests": 0 })),
        ("on", json!({})),
        ("exported", json!({ "otlpEndpoint": collector.url() })),
    ];
    let mut deployments = Vec::new();
    for (name, trace) in settings {
        let mut deployment = prepared(site, &format!("traces-{name}"))?;
        deployment.set("trace", trace);
        deployments.push(deployment);
    }
    let samples = alternately(&deployments, rounds)?;
    let [off, others @ ..] = samples.as_slice() else {
        return Ok(());
    };
    if collector.requests() == 0 {
        return Err(Error::Failed {
            what: "exporting traces".to_owned(),
            said: "the collector got nothing".to_owned(),
        });
    }
    report.measure("traces.off", "ADD on the socket, traces off", "ms", off);
    let names = [
        ("traces.again", "… off in another daemon: more in an ADD"),
        ("traces.on", "… on: more in an ADD"),
        ("traces.exported", "… on and exported: more in an ADD"),
    ];
    for ((name, what), some) in names.into_iter().zip(others) {
        let more = some.pairs(off, |some, off| (some - off) * 1000.0);
        report.measure(name, what, "µs", &more);
    }
    Ok(())
}

fn goal(report: &mut Report, what: &str, samples: &Samples, limit: f64) {
    let median = samples.median();
    let (goal, shown) = (format!("≤ {limit} ms"), format!("{median:.1} ms"));
    report.goal(what, &goal, shown, median, limit);
}

/// Executes a command; returns how long it took.
pub(super) fn timed(command: &mut Command) -> Result<(Duration, Output), Error> {
    let start = Instant::now();
    let output = command.output().map_err(|source| Error::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    Ok((start.elapsed(), output))
}

/// An execution that did not end as it has to.
pub(super) fn failed(what: &str, output: &Output) -> Error {
    Error::Failed {
        what: what.to_owned(),
        said: format!(
            "{}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}
