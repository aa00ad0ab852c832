//! What authors of policies rely on: recording, which a node's pods must not feel, replays, and
//! cases.

use std::fmt::Write as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use shim_api::admin::Record;

use super::operating::{failed, timed};
use crate::deployment::{Deployment, Running, Site};
use crate::error::Error;
use crate::manifests::{self, NODE, pod, single, storm};
use crate::report::Report;
use crate::samples::Samples;
use crate::target::Way;
use crate::yardstick::at_the_same_time;

/// A policy with a hook before and one after the delegate.
const MODULE: &str = "both-sides";
/// The policy of the cases.
const MTU: &str = "annotation-mtu";
/// A pod that the policy denies, so that an ADD does not wait for a delegate.
const DENIED: &str = "bench-denied";
const AT_ONCE: usize = 16;
/// ADDs in sequence with recording, and as many without.
const BLOCK: usize = 10;
/// ADDs after recording was switched, not counted: the first one wakes the recorder's thread.
const WARMING: usize = 2;
/// Pause between ADDs.
const REST: Duration = Duration::from_millis(2);
const CASES: usize = 1000;
const RUNS: usize = 5;
/// Goals: microseconds of an ADD, replays a second, and milliseconds of a thousand cases.
const RECORDING: f64 = 5.0;
const REPLAYS: f64 = 10_000.0;
const CASES_TIME: f64 = 1000.0;

/// Measures all.
pub(crate) fn run(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    recording(report, site, rounds)?;
    replays(report, site, rounds * 20)?;
    cases(report, site)
}

/// A daemon that can record.
fn recorder(site: &Site, name: &str, at_start: bool) -> Result<(Deployment, Running), Error> {
    let mut deployment = site.deployment(name)?;
    let mut denied = pod(DENIED, 0);
    denied["metadata"]["annotations"]["cnidaria.dev/measured"] = "cluster".into();
    deployment.add(&manifests::all())?;
    deployment.write("manifests/denied.json", denied.to_string())?;
    deployment.add_policies(MODULE, 1)?;
    deployment.set_of(
        "policies",
        "record",
        json!({ "directory": deployment.path("record"), "atStart": at_start, "maxBytes": 1 << 30 }),
    );
    let running = deployment.start()?;
    Ok((deployment, running))
}

/// ADDs of one daemon that alternately records and does not.
fn recording(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    let (_, running) = recorder(site, "recording", false)?;
    let target = &running.target;
    let add = |name: String, is_denied: bool| -> Result<f64, Error> {
        thread::sleep(REST);
        let took = if is_denied {
            target.call(Way::Socket, "ADD", &name, DENIED).refused()?
        } else {
            target.add_and_del(Way::Socket, &name, &single(1))?.0
        };
        Ok(took.as_secs_f64() * 1e6)
    };
    let kinds = [
        (
            true,
            "record.denied",
            "recording an ADD that a policy denies",
        ),
        (false, "record.add", "recording an ADD with a network"),
    ];
    for (is_denied, name, what) in kinds {
        let [mut with, mut without] = [(); 2].map(|()| Samples::default());
        for block in 0..rounds.div_ceil(BLOCK) {
            for (action, samples) in [(Record::Start, &mut with), (Record::Stop, &mut without)] {
                target.record(action)?;
                for call in 0..WARMING + BLOCK {
                    let took = add(format!("{name}-{block}-{call}"), is_denied)?;
                    if call >= WARMING {
                        samples.push(took);
                    }
                }
            }
        }
        let more = with.pairs(&without, |with, without| with - without);
        report.measure(name, &format!("{what}: more in it"), "µs", &more);
        if is_denied {
            let median = more.median();
            let (goal, shown) = (format!("≤ {RECORDING} µs"), format!("{median:.1} µs"));
            report.goal(what, &goal, shown, median, RECORDING);
        }
    }
    Ok(())
}

/// Replays of recorded ADDs with two networks.
fn replays(report: &mut Report, site: &Site, requests: usize) -> Result<(), Error> {
    let (deployment, running) = recorder(site, "replays", true)?;
    let target = &running.target;
    let each = requests.div_ceil(AT_ONCE);
    at_the_same_time(AT_ONCE, |thread| {
        let pod = if thread % 2 == 0 {
            single(1)
        } else {
            storm(thread % NODE)
        };
        (0..each).try_for_each(|call| {
            let container = format!("replay-{thread}-{call}");
            let call = target.call(Way::Socket, "ADD", &container, &pod);
            call.make().map(drop)
        })
    })?;
    target.record(Record::Flush)?;
    let mut replay = Command::new(site.binaries.command_line()?);
    replay
        .args(["--output", "json", "policy", "replay"])
        .arg(deployment.path("record"))
        .arg("--module")
        .arg(deployment.path("policies/10-copy.wasm"));
    let mut rates = Samples::default();
    let mut count = 0;
    for _ in 0..RUNS {
        let (_, output) = timed(&mut replay)?;
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let numbers = (said["requests"].as_f64(), said["seconds"].as_f64());
        let (true, (Some(requests), Some(seconds))) = (output.status.success(), numbers) else {
            return Err(failed("replaying", &output));
        };
        count = requests as usize;
        rates.push(requests / seconds);
    }
    let what = format!("replays of {count} recorded requests");
    report.measure("replays", &what, "1/s", &rates);
    let rate = rates.median();
    let (goal, shown) = (format!("≥ {REPLAYS}/s"), format!("{rate:.0}/s"));
    report.goal("replays of recorded requests", &goal, shown, REPLAYS, rate);
    Ok(())
}

/// Cases of a policy, after loading.
fn cases(report: &mut Report, site: &Site) -> Result<(), Error> {
    let deployment = site.deployment("cases")?;
    let mut text = String::from(
        "defaults:\n  pod: { networks: storage }\n  networks:\n    storage: { type: macvlan, master: eth1 }\n",
    );
    for number in 0..CASES {
        let mtu = 1400 + number;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "---\nname: case {number}\npod: {{ annotations: {{ cnidaria.dev/mtu: net1={mtu} }} }}\n\
             expect:\n  edits:\n    net1: {{ /conf/mtu: {mtu} }}\n",
        );
    }
    deployment.write("suite/cases.yaml", text)?;
    let mut test = Command::new(site.binaries.command_line()?);
    test.args(["policy", "test"])
        .arg(deployment.path("suite"))
        .arg("--module")
        .arg(site.binaries.policy(MTU)?);
    let [mut running, mut loading] = [(); 2].map(|()| Samples::default());
    for _ in 0..RUNS {
        let (_, output) = timed(&mut test)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let passed = said.contains(&format!("{CASES} passed, 0 failed"));
        let (true, true, Some(times)) = (output.status.success(), passed, times(&said)) else {
            return Err(failed("testing", &output));
        };
        running.push(times.0);
        loading.push(times.1);
    }
    let what = format!("{CASES} cases, after loading");
    report.measure("cases", &what, "ms", &running);
    report.measure("cases.loading", "… loading", "ms", &loading);
    let median = running.median();
    let (goal, shown) = (format!("≤ {CASES_TIME} ms"), format!("{median:.0} ms"));
    report.goal(&what, &goal, shown, median, CASES_TIME);
    Ok(())
}

/// The milliseconds of the cases and of loading: `… in 310 ms (after 480 ms of loading)`.
fn times(said: &str) -> Option<(f64, f64)> {
    let before = |rest: &str| rest.split(" ms").next()?.parse().ok();
    let running = said.rsplit_once(" in ")?.1;
    let loading = said.rsplit_once("(after ")?.1;
    Some((before(running)?, before(loading)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_the_summary() {
        let said = "1000 passed, 0 failed in 310 ms (after 480 ms of loading)\n";
        assert_eq!(times(said), Some((310.0, 480.0)));
        assert_eq!(times("error: in fact\n"), None);
    }
}
