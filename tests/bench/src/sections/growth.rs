//! Compares calls on a full node with those on a nearly empty one: is the cost flat?

use std::fs;

use crate::deployment::{Deployment, Site};
use crate::error::Error;
use crate::manifests::{NETWORKS, NOOP, list, network, pod, single};
use crate::report::Report;
use crate::samples::Samples;
use crate::target::Way;

/// What grows.
#[derive(Clone, Copy)]
struct Dimension {
    name: &'static str,
    what: &'static str,
    sizes: &'static [usize],
    fill: fn(&Deployment, usize) -> Result<(), Error>,
}

const DIMENSIONS: [Dimension; 3] = [
    Dimension {
        name: "pods",
        what: "pods",
        sizes: &[100, 1_000, 10_000],
        fill: pods,
    },
    Dimension {
        name: "networks",
        what: "networks",
        sizes: &[10, 100, 1_000],
        fill: networks,
    },
    Dimension {
        name: "ledger",
        what: "files in the ledger",
        sizes: &[1_000, 10_000, 100_000],
        fill: ledger,
    },
];

pub(crate) fn run(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    let small = prepared(site, "growth-small")?.start()?;
    for dimension in DIMENSIONS {
        let mut points = vec![(1.0, 1.0)];
        for size in dimension.sizes {
            let deployment = prepared(site, &format!("growth-{}-{size}", dimension.name))?;
            (dimension.fill)(&deployment, *size)?;
            let large = deployment.start()?;
            let mut ratios = Samples::default();
            for round in 0..rounds {
                let container = format!("growth-{round}");
                let took = |running: &crate::deployment::Running| {
                    let pod = single(1);
                    let both = running.target.add_and_del(Way::Socket, &container, &pod)?;
                    Ok::<_, Error>((both.0 + both.1).as_secs_f64())
                };
                ratios.push(took(&large)? / took(&small)?);
            }
            drop(large);
            fs::remove_dir_all(deployment.path("")).map_err(Error::file(deployment.path("")))?;
            let ratio = ratios.median();
            points.push((*size as f64, ratio));
            report.scored(
                &format!("growth.{}.{size}", dimension.name),
                &format!("ADD and DEL, {size} {}, beside a few", dimension.what),
                "×",
                &ratios,
                ratio,
            );
        }
        report.curve("growth", dimension.what, points);
    }
    Ok(())
}

fn prepared(site: &Site, name: &str) -> Result<Deployment, Error> {
    let deployment = site.deployment(name)?;
    let mut objects = vec![pod(&single(1), 1)];
    objects.extend((1..=NETWORKS).map(|number| network(&format!("net-{number}"), NOOP)));
    deployment.add(&objects)?;
    Ok(deployment)
}

fn pods(deployment: &Deployment, count: usize) -> Result<(), Error> {
    let name = |number: usize| format!("another-{number}");
    let pods = (0..count).map(|number| pod(&name(number), 1)).collect();
    deployment.write("manifests/pods.json", list(pods).to_string())
}

fn networks(deployment: &Deployment, count: usize) -> Result<(), Error> {
    let name = |number: usize| format!("another-{number}");
    let networks = (0..count)
        .map(|number| network(&name(number), NOOP))
        .collect();
    deployment.write("manifests/networks.json", list(networks).to_string())
}

/// Three files per sandbox with two attachments; hard-linked, not copied, because only the number
/// of names slows a directory down.
fn ledger(deployment: &Deployment, count: usize) -> Result<(), Error> {
    deployment.write("ledger/another", "[]")?;
    let ledger = deployment.path("ledger");
    let results = deployment.path("ledger/results");
    fs::create_dir_all(&results).map_err(Error::file(&results))?;
    let original = ledger.join("another");
    for number in 0..count / 3 {
        let files = [
            ledger.join(format!("another-{number}")),
            results.join(format!("cluster-another-{number}-eth0")),
            results.join(format!("net-1-another-{number}-net1")),
        ];
        for file in files {
            fs::hard_link(&original, &file).map_err(Error::file(file))?;
        }
    }
    Ok(())
}
