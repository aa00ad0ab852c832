//! The second pod is denied its address.

use node::inspect::Traces;
use node::{Node, Sandbox};
use serde_json::Value;

use crate::scene::FORBIDDEN_ADDRESS;
use crate::{Error, expect, screen};

pub(crate) fn show(node: &Node, intruder: &Sandbox) -> Result<(), Error> {
    screen::step(
        "ADD: pod visitors/intruder asks for an address that is not its own",
        &format!(
            "It wants {FORBIDDEN_ADDRESS} on the storage network. The policy address-guard knows \
             which namespace may have which addresses."
        ),
    );
    let before = Traces::of(node, &intruder.netns_name)?;
    let answer = node.call("ADD", intruder)?.make()?;
    let error = expect::error("ADD of visitors/intruder", &answer)?;
    screen::json("The CNI error", &error);

    let code = error.get("code").and_then(Value::as_u64);
    let code = code.unwrap_or_default();
    expect::that(code >= 100, || {
        format!("the code of a denial should be 100 or above and is {code}")
    })?;
    let text = error.to_string();
    for word in ["address-guard", "192.168.50.250"] {
        expect::that(text.contains(word), || {
            format!("the denial should name {word} and says {text}")
        })?;
    }
    nothing_changed(node, intruder, &before)?;
    println!();
    screen::good("denied by policy and reason, code 100 or above");
    screen::good("nothing stayed behind: no link, no address, no file of the ledger");
    Ok(())
}

/// Fails if a denied ADD has left anything on the node.
pub(crate) fn nothing_changed(node: &Node, pod: &Sandbox, before: &Traces) -> Result<(), Error> {
    let after = Traces::of(node, &pod.netns_name)?;
    expect::equal("what is on the node after the refused ADD", &after, before)?;
    let none: [String; 0] = [];
    expect::equal(
        "links of the refused pod",
        &&after.pod_links[..],
        &&none[..],
    )
}
