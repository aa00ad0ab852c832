//! Runs recorded requests through one policy.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Environment, Loaded};
use crate::config::{Config, Spec};
use crate::model::outside::{Outside, RecordedAnswers};
use crate::model::report::Hook;
use crate::pool::Pool;
use crate::record::{Call, Noting, Offered, Recorded, Turn, Unreadable};
use crate::run::generation::Generation;

/// Time limit of one call in place of the policy's: what a policy does must not depend on how busy
/// the machine of the replay is.
const CALL: Duration = Duration::from_secs(30);
/// Time limit of all calls of a request, in milliseconds: none, but for that of each call.
const REQUEST_MS: u64 = 24 * 60 * 60 * 1000;

/// A policy that recorded requests are offered to. Each thread has its own.
pub struct Replay {
    generation: Arc<Generation>,
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
        self.replay_within(CALL)
    }

    /// Prepares to replay records with this time limit of one call.
    pub fn replay_within(&self, call: Duration) -> Replay {
        let environment = Environment {
            cluster: Some(Arc::new(Noting(None))),
            ..Environment::default()
        };
        let spec = Arc::new(unhurried(&self.spec, call));
        // Drops each request's instance at its end: a thread that replays does nothing else.
        let pool = Pool::rehearsing(Arc::new(environment.services()));
        let nowhere = Path::new("");
        let config = Config {
            request_timeout: Duration::from_millis(REQUEST_MS),
            ..Config::new(nowhere, nowhere, nowhere)
        };
        let policies = vec![Arc::new(self.policy(spec))];
        let parts = (Arc::new(pool), None);
        Replay {
            generation: Arc::new(Generation::new(1, policies, &config, parts)),
        }
    }
}

/// The same policy with another time limit of a call, and none of a request.
fn unhurried(spec: &Spec, call: Duration) -> Spec {
    let mut spec = spec.clone();
    spec.limits.timeout_ms = u64::try_from(call.as_millis()).unwrap_or(REQUEST_MS);
    spec.limits.request_timeout_ms = REQUEST_MS;
    spec
}

impl Replay {
    /// Peak memory of all guests together, in bytes.
    pub fn guest_memory_peak(&self) -> u64 {
        self.generation.services().memory.peak()
    }

    /// Offers the policy what the policy `name` was offered.
    ///
    /// # Errors
    /// [`Unreadable`] if the record has something else in place of a value that the policy needs.
    pub async fn request(&self, recorded: &Recorded, name: &str) -> Result<Replayed, Unreadable> {
        let mut others = Outside::default();
        for turn in recorded.calls.iter().flat_map(|call| &call.turns) {
            others.join(&turn.outside, turn.policy == name);
        }
        let mut session = self.generation.begin(recorded.facts.clone());
        session.keep_notes();
        let mut replayed = Replayed::default();
        if session.wants_plan() && lacks_plan(&recorded.calls)? {
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
fn lacks_plan(calls: &[Call]) -> serde_json::Result<bool> {
    let mut adds = calls.iter().filter(|call| call.hook == Hook::BeforeAdd);
    let Some(first) = adds.next() else {
        return Ok(false);
    };
    let is_alone =
        matches!(first.offered.get()?, Offered::BeforeAdd(_, _, later) if later.is_empty());
    Ok(is_alone && adds.next().is_some())
}
