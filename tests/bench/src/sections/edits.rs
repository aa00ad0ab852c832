//! The cost of policies' edits, by the size of the conf and the number of policies.

use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::deployment::{Deployment, Site};
use crate::error::Error;
use crate::manifests::{NOOP, network_of, pod, single};
use crate::report::Report;
use crate::samples::Samples;
use crate::target::Way;

const MODULE: &str = "both-sides";
/// Edits by each policy of each of the pod's attachments.
const EDITS: usize = 32;
/// Members of the conf, edited by two policies.
const MEMBERS: [usize; 3] = [100, 1_000, 10_000];
/// Number of policies, with a conf of 1,000 members.
const POLICIES: [usize; 3] = [1, 4, 16];
const WARMING: usize = 5;
/// Pause so that one daemon's background work does not slow down the next one's turn.
const REST: Duration = Duration::from_millis(3);

/// Measures both; growing faster than the size misses the goal.
pub(crate) fn run(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    let mut costs = Vec::new();
    for members in MEMBERS {
        let what = format!("edits of two policies, conf of {members} members");
        let name = format!("policies.edits.members.{members}");
        costs.push(measured(
            report,
            site,
            (&name, &what),
            (members, 2),
            rounds,
        )?);
    }
    growth(report, "cost of edits, ten times the members", 10.0, &costs);
    let mut costs = Vec::new();
    for policies in POLICIES {
        let what = format!("edits of {policies} policies, conf of 1000 members");
        let name = format!("policies.edits.policies.{policies}");
        costs.push(measured(
            report,
            site,
            (&name, &what),
            (1_000, policies),
            rounds,
        )?);
    }
    growth(
        report,
        "cost of edits, four times the policies",
        4.0,
        &costs,
    );
    Ok(())
}

fn growth(report: &mut Report, what: &str, times: f64, costs: &[f64]) {
    if let [.., before, last] = costs {
        let ratio = last / before;
        let goal = format!("≤ {times} ×");
        report.goal(what, &goal, format!("{ratio:.1} ×"), ratio, times);
    }
}

/// The policies' cost in an ADD, in milliseconds.
fn measured(
    report: &mut Report,
    site: &Site,
    (name, what): (&str, &str),
    (members, policies): (usize, usize),
    rounds: usize,
) -> Result<f64, Error> {
    let none = prepared(site, &format!("{name}.none"), members)?;
    let mut some = prepared(site, name, members)?;
    some.add_policies(MODULE, policies)?;
    for number in 0..policies {
        let settings = json!({"settings": {"edits": EDITS, "key": format!("p{number}-")}});
        let file = format!("policies/{:02}-copy.json", 10 + number);
        some.write(&file, settings.to_string())?;
    }
    let (none, some) = (none.start()?, some.start()?);
    let mut samples = Samples::default();
    for round in 0..WARMING + rounds {
        let container = format!("edits-{round}");
        let mut times = Vec::new();
        for running in [&none, &some] {
            let (add, _) = running
                .target
                .add_and_del(Way::Socket, &container, &single(1))?;
            times.push(add.as_secs_f64() * 1_000.0);
            thread::sleep(REST);
        }
        if let ([none, some], true) = (times.as_slice(), round >= WARMING) {
            samples.push(some - none);
        }
    }
    report.measure(name, what, "ms", &samples);
    Ok(samples.median())
}

fn prepared(site: &Site, name: &str, members: usize) -> Result<Deployment, Error> {
    let deployment = site.deployment(name)?;
    let held: Map<String, Value> = (0..members)
        .map(|number| (format!("member-{number}"), number.into()))
        .collect();
    let conf = json!({"cniVersion": "1.0.0", "name": "net-1", "type": NOOP, "held": held});
    deployment.add(&[pod(&single(1), 1), network_of("net-1", &conf)])?;
    Ok(deployment)
}
