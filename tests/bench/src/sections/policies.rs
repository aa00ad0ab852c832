//! What policies cost: none, one and ten of them, side by side.

use crate::deployment::{Running, Site};
use crate::error::Error;
use crate::manifests::{pod, single};
use crate::report::Report;
use crate::samples::Samples;
use crate::target::Way;

const COUNTS: [usize; 3] = [0, 1, 10];
/// A policy with hooks before and after the delegate.
const MODULE: &str = "annotation-mtu";

pub(crate) fn run(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    let mut running: Vec<Running> = Vec::new();
    for count in COUNTS {
        let mut deployment = site.deployment(&format!("policies-{count}"))?;
        deployment.add(&[pod(&single(0), 0)])?;
        if count > 0 {
            deployment.add_policies(MODULE, count)?;
        }
        running.push(deployment.start()?);
    }
    let mut samples = COUNTS.map(|_| Samples::default());
    for round in 0..rounds {
        for (running, samples) in running.iter().zip(&mut samples) {
            let container = format!("policies-{round}");
            let (add, _) = running
                .target
                .add_and_del(Way::Socket, &container, &single(0))?;
            samples.push_time(add);
        }
    }
    let [none, one, ten] = &samples;
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
    let each = ten.pairs(none, |ten, none| (ten - none) * 100.0);
    report.measure(
        "policies.each",
        "one policy, from the cost of ten",
        "µs",
        &each,
    );
    report.goal(
        "one policy in an ADD",
        "≤ 60 µs",
        format!("{:.0} µs", each.median()),
        each.median(),
        60.0,
    );
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
