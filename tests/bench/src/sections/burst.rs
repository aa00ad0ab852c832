//! Many calls at once: throughput beside what the machine can execute at all, and what the daemon
//! takes for it in processor time and memory.

use crate::error::Error;
use crate::manifests::{BURST, NETWORKS, NODE, burst, storm};
use crate::report::Report;
use crate::samples::{Samples, milliseconds};
use crate::target::{Target, Way};
use crate::yardstick::{Yardsticks, at_the_same_time};

const AT_ONCE: [usize; 4] = [1, 16, 64, BURST];
/// Delegates that the yardstick executes at once.
const YARDSTICK_AT_ONCE: usize = 16;

pub(crate) fn run(
    report: &mut Report,
    yardsticks: &Yardsticks,
    target: &Target,
    calls: usize,
) -> Result<(), Error> {
    let daemon = target.process()?;
    daemon.forget_peak()?;
    let mut rates = Vec::new();
    for at_once in AT_ONCE {
        let limit_before = yardsticks.rate(YARDSTICK_AT_ONCE, calls / 2)?;
        let each = (calls / at_once).max(1);
        let count = each * at_once;
        let container = |thread: usize, call: usize| format!("burst-{at_once}-{thread}-{call}");
        let all = |command: &str| -> Result<(f64, f64, Samples), Error> {
            let cpu = daemon.cpu()?;
            let (elapsed, found) = at_the_same_time(at_once, |thread| {
                let mut took = Samples::default();
                for call in 0..each {
                    let (container, pod) = (container(thread, call), burst(thread));
                    let call = target.call(Way::Socket, command, &container, &pod);
                    took.push_time(call.make()?);
                }
                Ok(took)
            })?;
            let cpu = milliseconds(daemon.cpu()?.saturating_sub(cpu)) / count as f64;
            let mut took = Samples::default();
            found.into_iter().for_each(|one| took.extend(one));
            Ok((count as f64 / elapsed.as_secs_f64(), cpu, took))
        };
        let (rate, cpu, took) = all("ADD")?;
        let limit = limit_before.midpoint(yardsticks.rate(YARDSTICK_AT_ONCE, calls / 2)?);
        let (del_rate, del_cpu, _) = all("DEL")?;
        let what = format!("ADD, {at_once} at once");
        let name = format!("burst.{at_once}");
        let single: Samples = [rate].into_iter().collect();
        report.scored(&name, &what, "1/s", &single, limit / rate);
        report.measure(
            &format!("{name}.limit"),
            "… no-op delegates, 16 at once",
            "1/s",
            &[limit].into_iter().collect(),
        );
        report.measure(&format!("{name}.took"), "… time of one", "ms", &took);
        report.measure(
            &format!("{name}.cpu"),
            "… processor time of the daemon for one",
            "ms",
            &[cpu].into_iter().collect(),
        );
        report.measure(
            &format!("{name}.del"),
            &format!("DEL, {at_once} at once"),
            "1/s",
            &[del_rate].into_iter().collect(),
        );
        report.measure(
            &format!("{name}.del.cpu"),
            "… processor time of the daemon for one",
            "ms",
            &[del_cpu].into_iter().collect(),
        );
        rates.push((at_once as f64, rate / limit));
        if at_once == 16 {
            let share = rate / limit;
            report.goal(
                &format!("{what}, on the socket"),
                "≥ 0.7 of the limit",
                format!("{share:.2} of {limit:.0}/s"),
                0.7,
                share,
            );
            report.goal(
                "processor time of the daemon per ADD",
                "≤ 0.25 ms",
                format!("{cpu:.2} ms"),
                cpu,
                0.25,
            );
        }
    }
    report.curve("burst", "ADD a second, share of the limit", rates);
    a_whole_node(report, yardsticks, target)?;
    let peak = daemon.peak()?;
    report.number("burst.peak", "peak memory after the bursts", "MiB", peak);
    report.goal(
        "peak memory after the bursts",
        "≤ 24 MiB",
        format!("{peak:.1} MiB"),
        peak,
        24.0,
    );
    Ok(())
}

/// All pods of a node at once, each with all networks: a node that comes back.
fn a_whole_node(
    report: &mut Report,
    yardsticks: &Yardsticks,
    target: &Target,
) -> Result<(), Error> {
    const ROUNDS: usize = 3;
    let delegates = NODE * (1 + NETWORKS);
    let (mut took, mut ratios) = (Samples::default(), Samples::default());
    for round in 0..ROUNDS {
        let limit = delegates as f64 / yardsticks.rate(YARDSTICK_AT_ONCE, delegates)?;
        for command in ["ADD", "DEL"] {
            let (elapsed, _) = at_the_same_time(NODE, |pod| {
                let container = format!("storm-{round}-{pod}");
                target
                    .call(Way::Socket, command, &container, &storm(pod))
                    .make()
            })?;
            if command == "ADD" {
                took.push_time(elapsed);
                ratios.push(elapsed.as_secs_f64() / limit);
            }
        }
    }
    let what = format!("{NODE} pods with {NETWORKS} networks each, all at once");
    report.scored("storm", &what, "ms", &took, ratios.median());
    Ok(())
}
