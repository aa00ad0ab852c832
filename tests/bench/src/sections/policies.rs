//! The cost of policies: none, one and ten side by side; in other languages; under load; at
//! start-up and on reload.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::idle::AT_REST;
use crate::deployment::{Deployment, Running, Site};
use crate::error::Error;
use crate::manifests::{burst, pod, single};
use crate::report::Report;
use crate::samples::{Samples, milliseconds};
use crate::target::Way;
use crate::yardstick::at_the_same_time;

const COUNTS: [usize; 3] = [0, 1, 10];
/// A policy with hooks before and after the delegate.
const MODULE: &str = "both-sides";
const AT_ONCE: usize = 64;
/// Pause so that one daemon's background work does not slow down the next one's turn.
const REST: Duration = Duration::from_millis(3);
const STARTS: usize = 5;
/// Warm-up calls of a newly started daemon, not counted.
const WARMING: usize = 10;
/// Time limit for a daemon to notice a change.
const RELOADED: Duration = Duration::from_secs(10);

/// Measures; `modules` are the ones in other languages.
pub(crate) fn run(
    report: &mut Report,
    site: &Site,
    modules: &[PathBuf],
    rounds: usize,
    calls: usize,
) -> Result<(), Error> {
    let mut deployments = Vec::new();
    for count in COUNTS {
        let mut deployment = prepared(site, &format!("policies-{count}"))?;
        if count > 0 {
            deployment.add_policies(MODULE, count)?;
        }
        deployments.push(deployment);
    }
    one_by_one(report, &deployments, rounds)?;
    under_load(report, &start(&deployments)?, calls)?;
    starts(report, &deployments)?;
    if let [_, _, ten] = deployments.as_slice() {
        reload(report, ten)?;
    }
    languages(report, site, modules, rounds)
}

pub(super) fn prepared(site: &Site, name: &str) -> Result<Deployment, Error> {
    let deployment = site.deployment(name)?;
    let mut pods = vec![pod(&single(0), 0)];
    pods.extend((0..AT_ONCE).map(|number| pod(&burst(number), 0)));
    deployment.add(&pods)?;
    Ok(deployment)
}

fn start(deployments: &[Deployment]) -> Result<Vec<Running>, Error> {
    deployments.iter().map(Deployment::start).collect()
}

/// Measures ADDs of several daemons alternately. A process's placement in memory affects its speed
/// as much as its work does, so each daemon is started several times.
pub(super) fn alternately(
    deployments: &[Deployment],
    rounds: usize,
) -> Result<Vec<Samples>, Error> {
    let mut samples = vec![Samples::default(); deployments.len()];
    for _ in 0..STARTS {
        let running = start(deployments)?;
        for round in 0..WARMING + rounds / STARTS {
            for turn in 0..running.len() {
                // Rotates which daemon goes first.
                let place = (turn + round) % running.len();
                let (target, container) = (&running[place].target, format!("policies-{round}"));
                let (add, _) = target.add_and_del(Way::Socket, &container, &single(0))?;
                if round >= WARMING {
                    samples[place].push_time(add);
                }
                thread::sleep(REST);
            }
        }
    }
    Ok(samples)
}

fn one_by_one(report: &mut Report, deployments: &[Deployment], rounds: usize) -> Result<(), Error> {
    let samples = alternately(deployments, rounds)?;
    let [none, one, ten] = samples.as_slice() else {
        return Ok(());
    };
    report.measure("policies.0", "ADD on the socket, no policy", "ms", none);
    for (count, samples) in [(1, one), (10, ten)] {
        let ratio = samples.pairs(none, |some, none| some / none).median();
        report.scored(
            &format!("policies.{count}"),
            &format!("ADD on the socket, policies: {count}"),
            "ms",
            samples,
            ratio,
        );
    }
    let more = |some: &Samples| some.pairs(none, |some, none| (some - none) * 1000.0);
    for (name, what, samples, goal) in [
        ("policies.first", "one policy in an ADD", more(one), 60.0),
        ("policies.ten", "ten policies in an ADD", more(ten), 400.0),
    ] {
        report.measure(name, what, "µs", &samples);
        let median = samples.median();
        report.goal(
            what,
            &format!("≤ {goal} µs"),
            format!("{median:.0} µs"),
            median,
            goal,
        );
    }
    let points = COUNTS.iter().zip(&samples);
    report.curve(
        "policies",
        "share of an ADD without policies",
        points
            .map(|(count, samples)| {
                let ratio = samples.pairs(none, |some, none| some / none);
                (*count as f64, ratio.median())
            })
            .collect(),
    );
    Ok(())
}

/// Measures whether requests wait for each other inside policies.
fn under_load(report: &mut Report, running: &[Running], calls: usize) -> Result<(), Error> {
    // Single rounds vary by a fifth.
    const ROUNDS: usize = 21;
    let each = (calls / 2 / AT_ONCE).max(1);
    let [none, one, _] = running else {
        return Ok(());
    };
    let rate = |running: &Running, command: &str, round: usize| -> Result<f64, Error> {
        let (elapsed, _) = at_the_same_time(AT_ONCE, |thread| {
            (0..each).try_for_each(|call| {
                let container = format!("load-{round}-{thread}-{call}");
                let target = &running.target;
                let call = target.call(Way::Socket, command, &container, &burst(thread));
                call.make().map(drop)
            })
        })?;
        Ok((each * AT_ONCE) as f64 / elapsed.as_secs_f64())
    };
    // The first burst allocates instance slots, which are kept.
    for running in [none, one] {
        rate(running, "ADD", 2 * ROUNDS)?;
        rate(running, "DEL", 2 * ROUNDS)?;
    }
    let mut shares = Samples::default();
    for round in 0..ROUNDS {
        let without = rate(none, "ADD", round)?;
        let with = rate(one, "ADD", round)?;
        shares.push(with / without.midpoint(rate(none, "ADD", ROUNDS + round)?));
        rate(one, "DEL", round)?;
        rate(none, "DEL", round)?;
        rate(none, "DEL", ROUNDS + round)?;
    }
    let share = shares.median();
    let what = "ADD, 64 at once, with a policy beside without";
    report.scored("policies.load", what, "×", &shares, 1.0 / share);
    report.goal(what, "≥ 0.9", format!("{share:.2}"), 0.9, share);
    Ok(())
}

/// Ten cached policies' cost in start-up time and in memory afterwards.
fn starts(report: &mut Report, deployments: &[Deployment]) -> Result<(), Error> {
    let [none, _, ten] = deployments else {
        return Ok(());
    };
    let (mut times, mut memory) = (Samples::default(), Samples::default());
    for _ in 0..STARTS {
        let measure = |deployment: &Deployment| -> Result<(f64, f64), Error> {
            let running = deployment.start()?;
            running
                .target
                .add_and_del(Way::Socket, "first", &single(0))?;
            thread::sleep(AT_REST);
            let resident = running.target.process()?.resident()?;
            Ok((milliseconds(running.ready_after), resident))
        };
        let (without, with) = (measure(none)?, measure(ten)?);
        times.push(with.0 - without.0);
        memory.push(with.1 - without.1);
    }
    let (time, size) = (times.median(), memory.median());
    report.measure(
        "policies.start",
        "loading ten cached policies",
        "ms",
        &times,
    );
    report.goal(
        "loading ten cached policies",
        "≤ 20 ms",
        format!("{time:.1} ms"),
        time,
        20.0,
    );
    report.scored(
        "policies.memory",
        "memory of ten policies",
        "MiB",
        &memory,
        size,
    );
    report.goal(
        "memory of ten policies",
        "≤ 6 MiB",
        format!("{size:.1} MiB"),
        size,
        6.0,
    );
    Ok(())
}

/// Touches the directory without changing any of ten policies; nothing may be recompiled. An added
/// eleventh policy, switched off, shows that the daemon noticed.
fn reload(report: &mut Report, deployment: &Deployment) -> Result<(), Error> {
    let running = deployment.start()?;
    let before = compiled(deployment)?;
    let cpu = running.target.process()?.cpu()?;
    let file = deployment.path("policies/10-copy.wasm");
    let bytes = fs::read(&file).map_err(Error::file(&file))?;
    deployment.write("policies/99-off.json", r#"{"mode":"off"}"#)?;
    deployment.write("policies/99-off.wasm", &bytes)?;
    fs::write(&file, bytes).map_err(Error::file(&file))?;
    let start = Instant::now();
    while !running.target.policies()?.contains("99-off") {
        if start.elapsed() > RELOADED {
            return Err(Error::Failed {
                what: "reloading policies".to_owned(),
                said: "the daemon did not see the new one".to_owned(),
            });
        }
        thread::sleep(Duration::from_millis(20));
    }
    let cpu = running.target.process()?.cpu()?.saturating_sub(cpu);
    let after = compiled(deployment)?;
    let again = after.difference(&before).count();
    report.measure(
        "policies.reload",
        "reload of ten unchanged policies, processor time",
        "ms",
        &[milliseconds(cpu)].into_iter().collect(),
    );
    report.goal(
        "policies compiled by a reload without a change",
        "none",
        format!("{again} of {}", after.len()),
        1.0 + again as f64,
        1.0,
    );
    Ok(())
}

/// Artefacts and their modification times.
fn compiled(deployment: &Deployment) -> Result<BTreeSet<(PathBuf, SystemTime)>, Error> {
    let cache = deployment.path("policy-cache");
    let files = fs::read_dir(&cache).map_err(Error::file(&cache))?;
    let mut artefacts = BTreeSet::new();
    for file in files {
        let file = file.map_err(Error::file(&cache))?.path();
        if file.extension().is_some_and(|it| it == "cwasm") {
            let metadata = file.metadata().map_err(Error::file(&file))?;
            let time = metadata.modified().map_err(Error::file(&file))?;
            artefacts.insert((file, time));
        }
    }
    Ok(artefacts)
}

/// One policy of each language, compared with none.
fn languages(
    report: &mut Report,
    site: &Site,
    modules: &[PathBuf],
    rounds: usize,
) -> Result<(), Error> {
    for module in modules {
        let name = module.file_stem().unwrap_or_default().to_string_lossy();
        let none = prepared(site, &format!("language-{name}-none"))?;
        let mut some = prepared(site, &format!("language-{name}"))?;
        some.add_modules(module, 1)?;
        let samples = alternately(&[none, some], rounds)?;
        let [none, some] = samples.as_slice() else {
            continue;
        };
        let more = some.pairs(none, |some, none| (some - none) * 1000.0);
        report.measure(
            &format!("policies.module.{name}"),
            &format!("one policy in an ADD, {name}"),
            "µs",
            &more,
        );
    }
    Ok(())
}
