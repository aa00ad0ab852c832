//! Concurrent calls: throughput beside the machine's maximum, and the daemon's CPU time and memory.

use crate::error::Error;
use crate::manifests::{BURST, NETWORKS, NODE, burst, storm};
use crate::report::Report;
use crate::samples::{Samples, milliseconds};
use crate::target::{Target, Way};
use crate::yardstick::{Yardsticks, at_the_same_time};

const AT_ONCE: [usize; 4] = [1, 16, 64, BURST];
/// Concurrent delegates in the yardstick.
const YARDSTICK_AT_ONCE: usize = 16;

pub(crate) fn run(
    report: &mut Report,
    yardsticks: &Yardsticks,
    target: &Target,
    calls: usize,
) -> Result<(), Error> {
    let daemon = target.process()?;
    daemon.forget_peak()?;
    let mut shares = Vec::new();
    for at_once in AT_ONCE {
        let found = rounds(yardsticks, target, at_once, calls)?;
        let share = found.rates.pairs(&found.limits, |rate, limit| rate / limit);
        let share = share.median();
        let what = format!("ADD, {at_once} at once");
        let name = format!("burst.{at_once}");
        report.scored(&name, &what, "1/s", &found.rates, 1.0 / share);
        report.measure(
            &format!("{name}.limit"),
            "… no-op delegates, 16 at once",
            "1/s",
            &found.limits,
        );
        report.measure(&format!("{name}.took"), "… time of one", "ms", &found.took);
        report.measure(
            &format!("{name}.cpu"),
            "… processor time of the daemon for one",
            "ms",
            &found.cpu,
        );
        report.measure(
            &format!("{name}.del"),
            &format!("DEL, {at_once} at once"),
            "1/s",
            &found.del_rates,
        );
        report.measure(
            &format!("{name}.del.cpu"),
            "… processor time of the daemon for one",
            "ms",
            &found.del_cpu,
        );
        shares.push((at_once as f64, share));
        if at_once == 16 {
            let (limit, cpu) = (found.limits.median(), found.cpu.median());
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
    report.curve("burst", "ADD a second, share of the limit", shares);
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

/// The rounds with one number of concurrent calls; one sample per round.
#[derive(Default)]
struct Rounds {
    rates: Samples,
    /// The yardstick's rate around each round.
    limits: Samples,
    /// One sample per ADD.
    took: Samples,
    cpu: Samples,
    del_rates: Samples,
    del_cpu: Samples,
}

/// Makes concurrent ADDs and their DELs, `calls` in total, each round between two yardsticks.
fn rounds(
    yardsticks: &Yardsticks,
    target: &Target,
    at_once: usize,
    calls: usize,
) -> Result<Rounds, Error> {
    const ROUNDS: usize = 5;
    let daemon = target.process()?;
    let each = (calls / at_once / ROUNDS).max(1);
    let count = (each * at_once) as f64;
    let limit = || yardsticks.rate(YARDSTICK_AT_ONCE, calls / ROUNDS / 2);
    let mut found = Rounds::default();
    let mut before = limit()?;
    for round in 0..ROUNDS {
        let all = |command: &str| -> Result<(f64, f64, Samples), Error> {
            let cpu = daemon.cpu()?;
            let (elapsed, times) = at_the_same_time(at_once, |thread| {
                let mut took = Samples::default();
                for call in 0..each {
                    let container = format!("burst-{at_once}-{round}-{thread}-{call}");
                    let pod = burst(thread);
                    let call = target.call(Way::Socket, command, &container, &pod);
                    took.push_time(call.make()?);
                }
                Ok(took)
            })?;
            let cpu = milliseconds(daemon.cpu()?.saturating_sub(cpu)) / count;
            let mut took = Samples::default();
            times.into_iter().for_each(|one| took.extend(one));
            Ok((count / elapsed.as_secs_f64(), cpu, took))
        };
        let (rate, cpu, took) = all("ADD")?;
        let after = limit()?;
        let (del_rate, del_cpu, _) = all("DEL")?;
        found.rates.push(rate);
        found.limits.push(before.midpoint(after));
        found.took.extend(took);
        found.cpu.push(cpu);
        found.del_rates.push(del_rate);
        found.del_cpu.push(del_cpu);
        before = limit()?;
    }
    Ok(found)
}

/// Adds all pods of a node at once, each with all networks, as after a reboot.
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
