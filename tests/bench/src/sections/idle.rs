//! An idle daemon: memory and CPU time with a node's pods attached, and its start-up time there.

use std::thread;
use std::time::Duration;

use crate::deployment::Site;
use crate::error::Error;
use crate::manifests::{NETWORKS, NODE, NOOP, network, pod};
use crate::process::Process;
use crate::report::Report;
use crate::samples::{Samples, milliseconds};
use crate::target::Way;

const PODS: [usize; 3] = [0, NODE, 1000];
const NETWORK_DEFINITIONS: usize = 200;
const POLICIES: usize = 10;
const STARTS: usize = 7;
const WATCHED: Duration = Duration::from_secs(3);
/// Longer than any work that a daemon defers after its start or its last request.
pub(super) const AT_REST: Duration = Duration::from_secs(3);
/// CPU time below this, in ms/s, counts as none.
pub(super) const NO_CPU: f64 = 0.1;

/// An idle daemon's CPU time in ms/s.
pub(super) fn idle_cpu(daemon: Process) -> Result<f64, Error> {
    thread::sleep(AT_REST);
    let before = daemon.cpu_of_threads()?;
    thread::sleep(WATCHED);
    let cpu = daemon.cpu_of_threads()?.saturating_sub(before);
    Ok(milliseconds(cpu) / WATCHED.as_secs_f64())
}

pub(crate) fn run(report: &mut Report, site: &Site) -> Result<(), Error> {
    for pods in PODS {
        let mut deployment = site.deployment(&format!("idle-{pods}"))?;
        let name = |number: usize| format!("idle-{number:04}");
        let mut objects: Vec<_> = (0..pods).map(|number| pod(&name(number), 1)).collect();
        objects.extend((1..=NETWORKS).map(|number| network(&format!("net-{number}"), NOOP)));
        objects.extend(
            (NETWORKS..NETWORK_DEFINITIONS).map(|number| network(&format!("n-{number}"), NOOP)),
        );
        deployment.add(&objects)?;
        deployment.add_policies("both-sides", POLICIES)?;
        let first = deployment.start()?;
        let cold = first.ready_after;
        for number in 0..pods {
            let container = format!("idle-{number}");
            let call = first
                .target
                .call(Way::Socket, "ADD", &container, &name(number));
            call.make()?;
        }
        let busy = first.target.process()?.resident()?;
        thread::sleep(AT_REST);
        let resident = first.target.process()?.resident()?;
        drop(first);
        let (mut starts, mut after_start) = (Samples::default(), Samples::default());
        for _ in 0..STARTS {
            let running = deployment.start()?;
            starts.push_time(running.ready_after);
            after_start.push(running.target.process()?.resident()?);
        }
        let running = deployment.start()?;
        let daemon = running.target.process()?;
        let cpu = idle_cpu(daemon)?;
        let with = format!("{pods} pods");
        let key = |what: &str| format!("idle.{pods}.{what}");
        report.number(
            &key("resident"),
            &format!("resident, {with} attached, at rest"),
            "MiB",
            resident,
        );
        report.number(&key("busy"), "… right after the last ADD", "MiB", busy);
        report.measure(&key("after-start"), "… after a start", "MiB", &after_start);
        report.number(&key("cpu"), "… processor time while idle", "ms/s", cpu);
        report.measure(
            &key("ready"),
            &format!("start to ready, {with}"),
            "ms",
            &starts,
        );
        report.measure(
            &key("cold"),
            "… the first time, policies not compiled",
            "ms",
            &[milliseconds(cold)].into_iter().collect(),
        );
        let limit = match pods {
            0 => continue,
            NODE => 10.0,
            _ => 20.0,
        };
        report.goal(
            &format!("resident, {with}, {NETWORK_DEFINITIONS} networks, {POLICIES} policies"),
            &format!("≤ {limit} MiB"),
            format!("{resident:.1} MiB"),
            resident,
            limit,
        );
        report.goal(
            &format!("processor time while idle, {with}, {POLICIES} policies"),
            "none",
            format!("{cpu:.3} ms/s"),
            cpu,
            NO_CPU,
        );
        if pods > NODE {
            let ready = starts.median();
            report.goal(
                &format!("start to ready, {with}, {POLICIES} cached policies"),
                "≤ 60 ms",
                format!("{ready:.0} ms"),
                ready,
                60.0,
            );
        }
    }
    Ok(())
}
