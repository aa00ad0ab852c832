//! Runs recorded requests through one policy.

use std::collections::BTreeSet;

use super::{Environment, Loaded};
use crate::model::outside::{Outside, RecordedAnswers};
use crate::model::report::Hook;
use crate::record::{Call, Noting, Offered, Recorded, Turn};
use crate::run::host::PolicyHost;

/// A policy that recorded requests are offered to. Each thread has its own.
pub struct Replay {
    host: PolicyHost,
}

/// What the policy does with a recorded request.
#[derive(Debug, Clone, Default)]
pub struct Replayed {
    /// For each recorded call, in order, what the policy did; `None` if it was not called. Shorter
    /// than the record if the policy denies earlier.
    pub turns: Vec<Option<Turn>>,
    /// What the policy asked for and the record does not have.
    pub missing: BTreeSet<String>,
}

impl Loaded {
    /// Prepares to replay records.
    pub fn replay(&self) -> Replay {
        let environment = Environment {
            cluster: Some(std::sync::Arc::new(Noting(None))),
            ..Environment::default()
        };
        Replay {
            host: self.host(&environment),
        }
    }
}

impl Replay {
    /// Offers the policy what the policy `name` was offered.
    ///
    /// # Errors
    /// If the record has a result that is not one.
    pub async fn request(
        &self,
        recorded: &Recorded,
        name: &str,
    ) -> Result<Replayed, cni_types::result::Error> {
        let mut others = Outside::default();
        for turn in recorded.calls.iter().flat_map(|call| &call.turns) {
            others.join(&turn.outside, turn.policy == name);
        }
        let mut session = self.host.current().begin(recorded.facts.clone());
        session.keep_notes();
        let mut replayed = Replayed::default();
        if session.wants_plan() && lacks_plan(&recorded.calls) {
            let missing = "networks after the first in before-add".to_owned();
            replayed.missing.insert(missing);
        }
        let mut is_denied = false;
        for call in &recorded.calls {
            // Only this hook follows a denial.
            if is_denied && call.hook != Hook::AddFailed {
                break;
            }
            let own = call.turn(name).map(|turn| turn.outside.clone());
            let answers =
                RecordedAnswers::new(own.unwrap_or_default(), others, recorded.at_unix_ms);
            let again = session.again(call, name, answers).await?;
            let turn = again.notes.and_then(|mut notes| notes.turns.pop());
            replayed.turns.push(turn.map(|turn| Turn::of(turn, true)));
            others = again.answers.into_others(&mut replayed.missing);
            let is_final = !matches!(call.hook, Hook::AddFailed | Hook::Del | Hook::Gc);
            is_denied |= again.is_denied && is_final;
        }
        // Nothing is kept: what the policy would keep is in the next record.
        session.succeed();
        Ok(replayed)
    }
}

/// Whether the record lacks the later attachments, which before-add hooks of 0.3 see.
fn lacks_plan(calls: &[Call]) -> bool {
    let mut adds = calls.iter().filter(|call| call.hook == Hook::BeforeAdd);
    let first = adds.next().map(|call| &call.offered);
    let is_alone = matches!(first, Some(Offered::BeforeAdd(_, _, later)) if later.is_empty());
    is_alone && adds.next().is_some()
}
