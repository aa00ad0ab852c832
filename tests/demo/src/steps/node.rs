//! The daemon starts on the prepared node.

use std::time::Instant;

use node::Node;
use node::inspect;

use crate::{Error, screen};

pub(crate) fn show(node: &mut Node) -> Result<(), Error> {
    screen::step(
        "A node of its own",
        "A private network, mount and process namespace stands for the node: this machine's own \
         network is not touched. A directory of manifests stands for the cluster.",
    );
    let start = Instant::now();
    node.start_daemon()?;
    screen::table(
        &["link of the node", "kind", "MTU", "addresses"],
        &inspect::links(None)?
            .into_iter()
            .map(|link| {
                vec![
                    link.name,
                    link.kind,
                    link.mtu.to_string(),
                    link.addresses.join(" "),
                ]
            })
            .collect::<Vec<_>>(),
    );
    screen::say("cnidaria policy list");
    println!();
    for line in node.command_line(&["policy", "list"])?.lines() {
        println!("   {line}");
    }
    println!();
    screen::good(&format!(
        "cnidaria-daemon is ready after {} ms",
        start.elapsed().as_millis()
    ));
    Ok(())
}
