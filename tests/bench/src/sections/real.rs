//! Real delegates: `bridge` with `host-local`, called directly and by the daemon; and a pod's
//! networks attached one by one and concurrently.

use serde_json::{Value, json};

use crate::deployment::{Deployment, Site};
use crate::error::Error;
use crate::manifests::{NETWORKS, network_of, pod, single};
use crate::program::Program;
use crate::report::Report;
use crate::samples::Samples;
use crate::target::Way;

pub(crate) fn run(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    beside_the_delegates(report, site, rounds)?;
    at_once(report, site, rounds)
}

/// A bridge with its own address range.
fn bridge(deployment: &Deployment, name: &str, number: usize) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": name,
        "type": "bridge",
        "bridge": format!("bench{number}"),
        "isGateway": true,
        "ipam": {
            "type": "host-local",
            "dataDir": deployment.path("ipam"),
            "ranges": [[{ "subnet": format!("10.{}.0.0/16", 99 + number) }]],
        },
    })
}

fn beside_the_delegates(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    let deployment = site.deployment("real")?;
    deployment.add(&[pod(&single(0), 0)])?;
    let conf = bridge(&deployment, "cluster", 0).to_string();
    deployment.write("net.d/10-default.conf", &conf)?;
    let running = deployment.start()?;
    let target = &running.target;
    let direct = |command: &str, container: &str| Program {
        path: format!("{}/bridge", target.plugins).into(),
        env: target
            .variables(command, container, &single(0))
            .into_iter()
            .chain([(
                "PATH".to_owned(),
                "/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            )])
            .collect(),
        stdin: conf.clone().into_bytes(),
    };
    let [mut direct_add, mut direct_del, mut add, mut del] = [(); 4].map(|()| Samples::default());
    for round in 0..rounds {
        let container = format!("direct-{round}");
        direct_add.push_time(direct("ADD", &container).succeed()?.took);
        direct_del.push_time(direct("DEL", &container).succeed()?.took);
        let container = format!("real-{round}");
        let (one_add, one_del) = target.add_and_del(Way::Socket, &container, &single(0))?;
        add.push_time(one_add);
        del.push_time(one_del);
    }
    for (name, what, whole, alone) in [
        (
            "real.add",
            "ADD with bridge and host-local",
            &add,
            &direct_add,
        ),
        (
            "real.del",
            "DEL with bridge and host-local",
            &del,
            &direct_del,
        ),
    ] {
        let ratio = whole.pairs(alone, |whole, alone| whole / alone).median();
        report.scored(name, what, "ms", whole, ratio);
        report.measure(
            &format!("{name}.alone"),
            "… the delegates alone",
            "ms",
            alone,
        );
    }
    Ok(())
}

/// ADDs of a pod with several bridges, by a daemon that attaches them one by one and by one that
/// attaches them concurrently.
fn at_once(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    let start = |name: &str, at_once: usize| {
        let mut deployment = site.deployment(name)?;
        deployment.set("attachmentsAtOnce", at_once.into());
        let conf = bridge(&deployment, "cluster", 0);
        deployment.write("net.d/10-default.conf", conf.to_string())?;
        let networks = (1..=NETWORKS).map(|number| {
            let name = format!("net-{number}");
            network_of(&name, &bridge(&deployment, &name, number))
        });
        let objects: Vec<Value> = networks.chain([pod(&single(NETWORKS), NETWORKS)]).collect();
        deployment.add(&objects)?;
        deployment.start()
    };
    let one_by_one = start("real-one-by-one", 1)?;
    let at_once = start("real-at-once", NETWORKS)?;
    let [mut before, mut after] = [(); 2].map(|()| Samples::default());
    for round in 0..rounds {
        for (running, samples) in [(&one_by_one, &mut before), (&at_once, &mut after)] {
            let container = format!("parallel-{round}");
            let (add, _) =
                running
                    .target
                    .add_and_del(Way::Socket, &container, &single(NETWORKS))?;
            samples.push_time(add);
        }
    }
    let ratio = after
        .pairs(&before, |after, before| after / before)
        .median();
    let what = format!("ADD with {} bridges, one after the other", 1 + NETWORKS);
    report.measure("real.one-by-one", &what, "ms", &before);
    report.scored(
        "real.at-once",
        "… the last 4 at once: share of that",
        "ms",
        &after,
        ratio,
    );
    Ok(())
}
