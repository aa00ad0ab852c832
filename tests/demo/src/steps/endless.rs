//! A policy that never returns runs for the third pod.

use std::time::Duration;

use node::inspect::Traces;
use node::{Node, Sandbox};

use super::deny::nothing_changed;
use crate::scene::DEADLINE_MS;
use crate::{Error, expect, screen};

/// Tolerance beyond the time limit on a busy machine.
const GRACE: Duration = Duration::from_secs(3);

pub(crate) fn show(node: &Node, patient: &Sandbox) -> Result<(), Error> {
    screen::step(
        "ADD: pod lab/patient meets a policy that never returns",
        &format!(
            "The module counts for ever. It is stopped at its deadline of {DEADLINE_MS} ms, and \
             its verdict stays unknown, so the ADD fails closed."
        ),
    );
    let before = Traces::of(node, &patient.netns_name)?;
    let answer = node.call("ADD", patient)?.make()?;
    let error = expect::error("ADD of lab/patient", &answer)?;
    screen::json("The CNI error", &error);

    expect::that(error.to_string().contains("endless"), || {
        format!("the error should name the policy endless and says {error}")
    })?;
    let deadline = Duration::from_millis(DEADLINE_MS);
    expect::that(
        answer.took >= deadline && answer.took < deadline + GRACE,
        || {
            format!(
                "the policy should be stopped after {deadline:?} and the ADD took {:?}",
                answer.took
            )
        },
    )?;
    nothing_changed(node, patient, &before)?;
    println!();
    screen::good(&format!(
        "stopped: the ADD failed after {} ms, and nothing stayed behind",
        answer.took.as_millis()
    ));
    Ok(())
}
