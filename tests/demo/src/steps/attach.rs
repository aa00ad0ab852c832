//! The first pod gets two networks.

use node::{Call, Node, Sandbox};
use serde_json::Value;

use crate::scene::NAME_SERVER;
use crate::{Error, expect, screen};

pub(crate) fn show(node: &Node, web: &Sandbox) -> Result<(), Error> {
    screen::step(
        "ADD: pod shop/web gets two networks",
        "The runtime has made a network namespace for the pod and executes cnidaria-shim, with this \
         environment and the conf on standard input. The pod's annotations ask for a second network, \
         an address and an MTU on it.",
    );
    let call = node.call("ADD", web)?;
    environment(&call);
    screen::json("The conf on standard input", &node.conf);
    annotations(web);
    let answer = call.make()?;
    expect::success("ADD of shop/web", &answer)?;
    let result = answer.json()?;
    screen::json("The CNI result", &result);

    expect::equal(
        "cniVersion of the result",
        &expect::text(&result, "/cniVersion"),
        &"1.0.0",
    )?;
    let servers = result.pointer("/dns/nameservers").and_then(Value::as_array);
    let servers: Vec<_> = servers
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    expect::equal("name servers of the result", &servers, &vec![NAME_SERVER])?;
    println!();
    screen::good(&format!(
        "attached in {} ms, all delegates included",
        answer.took.as_millis()
    ));
    screen::good(&format!("the result names the name server {NAME_SERVER}"));
    Ok(())
}

fn environment(call: &Call) {
    let rows: Vec<_> = call
        .variables
        .iter()
        // `CNI_ARGS` is too long for one line.
        .map(|(name, value)| vec![name.clone(), value.replace(';', ";\n")])
        .collect();
    screen::table(&["variable", "value"], &rows);
}

fn annotations(pod: &Sandbox) {
    let rows: Vec<_> = pod
        .pod
        .annotations
        .iter()
        .map(|(key, value)| vec![key.clone(), value.clone()])
        .collect();
    screen::table(&["annotation", "value"], &rows);
}
