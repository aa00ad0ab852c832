//! Real delegates: `bridge` with `host-local`, called by us and called by the daemon.

use serde_json::json;

use crate::deployment::Site;
use crate::error::Error;
use crate::manifests::{pod, single};
use crate::program::Program;
use crate::report::Report;
use crate::samples::Samples;
use crate::target::Way;

pub(crate) fn run(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    let deployment = site.deployment("real")?;
    deployment.add(&[pod(&single(0), 0)])?;
    let conf = json!({
        "cniVersion": "1.0.0",
        "name": "cluster",
        "type": "bridge",
        "bridge": "bench0",
        "isGateway": true,
        "ipam": {
            "type": "host-local",
            "dataDir": deployment.path("ipam"),
            "ranges": [[{ "subnet": "10.99.0.0/16" }]],
        },
    })
    .to_string();
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
