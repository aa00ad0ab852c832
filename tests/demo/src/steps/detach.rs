//! The first pod is deleted, with everything that was created for it.

use node::inspect::{self, Traces};
use node::{Node, Sandbox};

use crate::{Error, expect, screen};

pub(crate) fn show(node: &mut Node, web: &Sandbox) -> Result<(), Error> {
    screen::step(
        "DEL: pod shop/web goes away",
        "The ledger says what ADD did, so DEL undoes exactly that, in reverse order, and asks \
         neither the cluster nor a policy. A second DEL finds nothing to do and succeeds.",
    );
    let before = Traces::of(node, &web.netns_name)?;
    for call in ["DEL of shop/web", "the second DEL of shop/web"] {
        let answer = node.call("DEL", web)?.make()?;
        expect::success(call, &answer)?;
    }
    let after = Traces::of(node, &web.netns_name)?;
    let row = |what: &str, before: &[String], after: &[String]| {
        let list = |names: &[String]| match names {
            [] => "–".to_owned(),
            names => names.join("\n"),
        };
        vec![what.to_owned(), list(before), list(after)]
    };
    screen::table(
        &["what", "before", "after"],
        &[
            row("links of the pod", &before.pod_links, &after.pod_links),
            row("links of the node", &before.node_links, &after.node_links),
            row(
                "addresses held by host-local",
                &before.addresses,
                &after.addresses,
            ),
            row("files of the ledger", &before.ledger, &after.ledger),
        ],
    );
    let empty = after.pod_links.is_empty() && after.addresses.is_empty() && after.ledger.is_empty();
    expect::that(empty, || format!("DEL left traces of the pod: {after:?}"))?;
    let links: Vec<_> = inspect::links(None)?.into_iter().map(|l| l.name).collect();
    expect::equal(
        "links of the node after DEL",
        &links,
        &["cni0", "storage", "uplink"].map(str::to_owned).to_vec(),
    )?;
    node.stop_daemon()?;
    println!();
    screen::good("the pod's namespace, host-local's directory and the ledger are empty again");
    screen::good("cnidaria-daemon has ended on SIGTERM");
    Ok(())
}
