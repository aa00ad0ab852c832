//! The same calls with an API server of realistic latency: an ADD makes one write, a DEL none, and
//! the daemon does not limit concurrent writes.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::api::{Api, LATENCY, Patcher};
use crate::deployment::Site;
use crate::error::Error;
use crate::manifests::{self, BURST, NETWORKS, NOOP, burst, network, pod, single};
use crate::report::Report;
use crate::samples::{Samples, milliseconds};
use crate::sections::{idle, latency};
use crate::target::{Target, Way};
use crate::yardstick::{Yardsticks, at_the_same_time};

/// Size of the burst with a throughput goal.
const AT_ONCE: usize = 64;

pub(crate) fn run(
    report: &mut Report,
    site: &Site,
    yardsticks: &Yardsticks,
    rounds: usize,
    calls: usize,
) -> Result<(), Error> {
    let mut deployment = site.deployment("api")?;
    let api = Api::start(&deployment.path(""), manifests::all())?;
    deployment.use_api(&api.kubeconfig);
    let running = deployment.start()?;
    warm_up(&api, &running.target)?;
    requests(report, &api, &running.target)?;
    latency::run(report, yardsticks, &running.target, rounds, Some(&api))?;
    for at_once in [AT_ONCE, BURST] {
        api.settle();
        at_once_with_api(report, &api, yardsticks, &running.target, at_once, calls)?;
    }
    waves(report, &api, yardsticks, &running.target, calls / 60)?;
    drop(running);
    drop(api);
    at_rest(report, site)
}

/// Measures an idle daemon that watches a large cluster.
fn at_rest(report: &mut Report, site: &Site) -> Result<(), Error> {
    const PODS: usize = 1000;
    const NETWORK_DEFINITIONS: usize = 200;
    let mut objects = manifests::all();
    objects.extend((0..PODS).map(|number| pod(&format!("idle-{number:04}"), 1)));
    objects.extend(
        (NETWORKS..NETWORK_DEFINITIONS).map(|number| network(&format!("n-{number}"), NOOP)),
    );
    let mut deployment = site.deployment("api-idle")?;
    let api = Api::start(&deployment.path(""), objects)?;
    deployment.use_api(&api.kubeconfig);
    let running = deployment.start()?;
    warm_up(&api, &running.target)?;
    api.settle();
    let daemon = running.target.process()?;
    let cpu = idle::idle_cpu(daemon)?;
    let asked = api.asked();
    let resident = daemon.resident()?;
    let what = format!("resident with API, {PODS} pods, {NETWORK_DEFINITIONS} networks");
    report.number("api.idle.resident", &what, "MiB", resident);
    report.goal(
        &what,
        "≤ 20 MiB",
        format!("{resident:.1} MiB"),
        resident,
        20.0,
    );
    report.number("api.idle.cpu", "… processor time while idle", "ms/s", cpu);
    report.goal(
        "processor time with API while nothing changes",
        "none",
        format!(
            "{cpu:.3} ms/s, {} requests",
            asked.patches + asked.events + asked.others
        ),
        cpu,
        idle::NO_CPU,
    );
    Ok(())
}

/// Waits until the caches are filled: until an ADD makes no request except its one write.
fn warm_up(api: &Api, target: &Target) -> Result<(), Error> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let start = Instant::now();
    let mut round = 0;
    loop {
        api.settle();
        target.add_and_del(Way::Socket, &format!("warm-{round}"), &single(4))?;
        let asked = api.asked();
        if asked.others == 0 {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(Error::Failed {
                what: "filling the caches".to_owned(),
                said: format!("{asked:?}"),
            });
        }
        thread::sleep(Duration::from_millis(50));
        round += 1;
    }
}

/// Counts the requests of a warm ADD and of a DEL.
fn requests(report: &mut Report, api: &Api, target: &Target) -> Result<(), Error> {
    api.settle();
    let call = |command| target.call(Way::Socket, command, "requests", &single(4));
    call("ADD").make()?;
    let add = api.asked();
    api.settle();
    call("DEL").make()?;
    thread::sleep(20 * LATENCY);
    let del = api.asked();
    let waited_for = (add.patches + add.others) as f64;
    report.number(
        "api.requests.add",
        "requests that an ADD with 4 networks waits for",
        "",
        waited_for,
    );
    report.goal(
        "ADD with API, requests on its way",
        "1 PATCH",
        format!("{} PATCH, {} others", add.patches, add.others),
        waited_for,
        1.0,
    );
    let del = del.patches + del.events + del.others;
    report.number("api.requests.del", "requests of a DEL", "", del as f64);
    report.goal(
        "DEL with API, requests",
        "none",
        del.to_string(),
        1.0 + del as f64,
        1.0,
    );
    Ok(())
}

/// A burst's delegates, each followed by one write, without any daemon.
struct Alone {
    /// One per thread, opened before the measurement.
    connections: Vec<Mutex<Patcher>>,
}

impl Alone {
    fn new(api: &Api, at_once: usize) -> Result<Self, Error> {
        let connections = (0..at_once).map(|_| api.connect().map(Mutex::new));
        Ok(Self {
            connections: connections.collect::<Result<_, _>>()?,
        })
    }

    /// Executions per second, `each` in sequence on every thread.
    fn rate(&self, yardsticks: &Yardsticks, each: usize) -> Result<f64, Error> {
        let at_once = self.connections.len();
        let (elapsed, _) = at_the_same_time(at_once, |thread| {
            let mut connection = self.connections[thread]
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            (0..each).try_for_each(|_| {
                yardsticks.y()?;
                connection.patch(&burst(thread)).map(drop)
            })
        })?;
        Ok((at_once * each) as f64 / elapsed.as_secs_f64())
    }
}

/// All of a node's pods start at the same moment, followed by nothing: the slowest ADD beside the
/// delegates and writes alone.
fn waves(
    report: &mut Report,
    api: &Api,
    yardsticks: &Yardsticks,
    target: &Target,
    count: usize,
) -> Result<(), Error> {
    let alone = Alone::new(api, BURST)?;
    let [mut took, mut limits, mut slowest] = [(); 3].map(|()| Samples::default());
    for wave in 0..count {
        api.settle();
        let before = alone.rate(yardsticks, 1)?;
        let all = |command: &str| -> Result<Samples, Error> {
            let (_, times) = at_the_same_time(BURST, |thread| {
                let container = format!("wave-{wave}-{thread}");
                let call = target.call(Way::Socket, command, &container, &burst(thread));
                call.make()
            })?;
            Ok(times.into_iter().map(milliseconds).collect())
        };
        let times = all("ADD")?;
        api.settle();
        let limit = before.midpoint(alone.rate(yardsticks, 1)?);
        all("DEL")?;
        limits.push(BURST as f64 / limit * 1000.0);
        slowest.push(times.quantile(0.99));
        took.extend(times);
    }
    let beyond = slowest.pairs(&limits, |p99, limit| p99 / limit).median();
    let ideal = limits.median();
    let what = format!("ADD with API, {BURST} at the same moment");
    report.scored("api.wave", &what, "ms", &took, beyond);
    report.measure(
        "api.wave.slowest",
        "… 99th of a hundred of each",
        "ms",
        &slowest,
    );
    report.measure(
        "api.wave.limit",
        "… delegates and writes alone",
        "ms",
        &limits,
    );
    report.goal(
        &format!("{what}, p99"),
        &format!("≤ 1.2 × {BURST} / limit"),
        format!("{beyond:.2} × {ideal:.0} ms"),
        beyond,
        1.2,
    );
    Ok(())
}

/// Concurrent ADDs, beside equally many concurrent delegates and writes without any daemon.
fn at_once_with_api(
    report: &mut Report,
    api: &Api,
    yardsticks: &Yardsticks,
    target: &Target,
    at_once: usize,
    calls: usize,
) -> Result<(), Error> {
    const ROUNDS: usize = 3;
    let each = (calls / at_once).max(1);
    let count = (each * at_once) as f64;
    let alone = Alone::new(api, at_once)?;
    let [mut rates, mut limits, mut took] = [(); 3].map(|()| Samples::default());
    for round in 0..ROUNDS {
        api.settle();
        let before = alone.rate(yardsticks, each)?;
        let container =
            |thread: usize, call: usize| format!("api-{at_once}-{round}-{thread}-{call}");
        let all = |command: &str| -> Result<(f64, Samples), Error> {
            let (elapsed, found) = at_the_same_time(at_once, |thread| {
                let mut took = Samples::default();
                for call in 0..each {
                    let call = target.call(
                        Way::Socket,
                        command,
                        &container(thread, call),
                        &burst(thread),
                    );
                    took.push_time(call.make()?);
                }
                Ok(took)
            })?;
            let mut all = Samples::default();
            found.into_iter().for_each(|one| all.extend(one));
            Ok((count / elapsed.as_secs_f64(), all))
        };
        let (rate, times) = all("ADD")?;
        all("DEL")?;
        api.settle();
        rates.push(rate);
        limits.push(before.midpoint(alone.rate(yardsticks, each)?));
        took.extend(times);
    }
    let share = rates.pairs(&limits, |rate, limit| rate / limit).median();
    let rate = limits.median();
    let name = format!("api.burst.{at_once}");
    let what = format!("ADD with API, {at_once} at once");
    report.scored(&name, &what, "1/s", &rates, 1.0 / share);
    report.measure(
        &format!("{name}.limit"),
        "… delegates and writes alone",
        "1/s",
        &limits,
    );
    report.measure(&format!("{name}.took"), "… time of one", "ms", &took);
    if at_once == AT_ONCE {
        report.goal(
            &what,
            "≥ 0.8 of the limit",
            format!("{share:.2} of {rate:.0}/s"),
            0.8,
            share,
        );
        return Ok(());
    }
    let p99 = took.quantile(0.99);
    let serial = at_once as f64 * milliseconds(LATENCY);
    report.goal(
        &format!("{what}, p99 beside serial"),
        &format!("≤ 2 × {serial:.0} ms"),
        format!("{p99:.0} ms"),
        p99,
        2.0 * serial,
    );
    Ok(())
}
