//! How the requests of a generation begin.

use std::sync::Arc;

use super::{Session, with_states};
use crate::model::report::{Denied, Report};
use crate::model::request::{Command, RequestFacts};
use crate::model::witness::Witness;
use crate::run::generation::Generation;

impl Generation {
    /// Begins a request's session. Cheap: policies are instantiated when a hook needs them.
    pub fn begin(self: &Arc<Self>, facts: RequestFacts) -> Session {
        let skipped = self.skip(&facts).is_some();
        Session::new(Arc::clone(self), facts, skipped)
    }

    /// Begins the session of an ADD that is not made: `witness` sees what the policies do. They read
    /// the state that they keep, and change only a copy of it. Their calls are limited as in any
    /// request, but not counted or logged.
    pub fn rehearse(&self, facts: RequestFacts, witness: Arc<dyn Witness>) -> Session {
        Arc::new(self.rehearsing(witness)).begin(facts)
    }

    /// Asks the policies whether the node is ready. Called on STATUS.
    ///
    /// # Errors
    /// [`Denied`] if a required policy is not loaded, or a policy says the node is not ready.
    pub async fn status(self: &Arc<Self>) -> Result<(), Denied> {
        self.begin(RequestFacts::of_node(Command::Status))
            .status()
            .await
    }

    /// Tells policies which attachments (container id, interface) are in use, on GC; cannot deny.
    pub async fn gc(self: &Arc<Self>, valid: &[(String, String)]) -> Report {
        self.begin(RequestFacts::of_node(Command::Gc))
            .gc(valid)
            .await
    }

    /// Removes the state that policies bound to a sandbox that is gone, and to its attachments.
    pub async fn release(&self, container_id: &str) {
        let container_id = container_id.to_owned();
        let services = Arc::clone(self.services());
        with_states(services, move |states| {
            states.release_sandbox(&container_id);
        })
        .await;
    }
}
