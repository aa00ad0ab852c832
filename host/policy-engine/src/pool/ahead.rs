//! An instance of a policy made ahead of the request that takes it, so that requests need not wait.
//! When a request that took one is answered, the next one is made.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Spec;
use crate::model::grant::Grant;
use crate::wasm::instance::{Instance, NotAhead};
use crate::wasm::memory::Idle;
use crate::wasm::module::Module;
use crate::wasm::services::Services;

/// A policy's instance for the next request.
#[derive(Default)]
pub(crate) struct Ahead {
    state: Mutex<State>,
    /// How often it took too long to make one.
    late: AtomicU32,
}

/// Number of late instances after which none is made ahead.
const MAX_LATE: u32 = 3;

#[derive(Default)]
enum State {
    #[default]
    Empty,
    Making,
    Made(Instance),
    /// The policy's instances cannot be made ahead.
    Never,
}

impl Ahead {
    /// Takes the instance, if there is one.
    pub(crate) fn take(&self) -> Option<Instance> {
        let mut state = self.state();
        match std::mem::take(&mut *state) {
            State::Made(instance) => Some(instance),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Makes an instance, unless one exists or is being made. Skips policies that may read the
    /// clock: they would see a time before their request.
    async fn refill(
        self: &Arc<Self>,
        module: &Arc<Module>,
        spec: &Arc<Spec>,
        services: &Arc<Services>,
    ) {
        {
            let mut state = self.state();
            if !matches!(*state, State::Empty) || spec.grants.contains(&Grant::Clock) {
                return;
            }
            *state = State::Making;
        }
        // Resets the state if this future is dropped half-way.
        let mut made = Making(self, State::Empty);
        let (module, spec) = (Arc::clone(module), Arc::clone(spec));
        made.1 = match Instance::ahead(module, spec, Arc::clone(services)).await {
            Ok(instance) => {
                services.memory.made_ahead(self);
                State::Made(instance)
            }
            Err(NotAhead::Now) => State::Empty,
            Err(NotAhead::InTime) if self.late.fetch_add(1, Ordering::Relaxed) + 1 < MAX_LATE => {
                State::Empty
            }
            Err(NotAhead::InTime | NotAhead::Ever) => State::Never,
        };
        drop(made);
        if services.memory.is_short() {
            // A request that started waiting meanwhile did not see this instance.
            drop(self.take());
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle for Ahead {
    fn evict(&self) {
        drop(self.take());
    }
}

/// An instance to make ahead.
pub(crate) struct Refill {
    pub(crate) ahead: Arc<Ahead>,
    pub(crate) module: Arc<Module>,
    pub(crate) spec: Arc<Spec>,
}

impl Refill {
    pub(super) async fn make(&self, services: &Arc<Services>) {
        self.ahead.refill(&self.module, &self.spec, services).await;
    }
}

/// State restored when the guard drops.
struct Making<'a>(&'a Ahead, State);

impl Drop for Making<'_> {
    fn drop(&mut self) {
        *self.0.state() = std::mem::take(&mut self.1);
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self.state() {
            State::Empty => "Empty",
            State::Making => "Making",
            State::Made(_) => "Made",
            State::Never => "Never",
        })
    }
}
