//! CHECK: the networks are still as ADD left them.

use node::{Node, Sandbox};

use crate::{Error, expect, screen};

pub(crate) fn show(node: &Node, web: &Sandbox) -> Result<(), Error> {
    screen::step(
        "CHECK: the networks of shop/web are as ADD left them",
        "The daemon reads the plan of the pod from its ledger and has each delegate compare it with \
         what is there.",
    );
    println!();
    for line in node.command_line(&["attachments"])?.lines() {
        println!("   {line}");
    }
    let answer = node.call("CHECK", web)?.make()?;
    expect::success("CHECK of shop/web", &answer)?;
    println!();
    screen::good(&format!("checked in {} ms", answer.took.as_millis()));
    Ok(())
}
