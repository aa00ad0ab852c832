//! An instance of a policy made ahead of the request that takes it, so that requests need not wait.
//! When a request that took one is answered, the next one is made.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::config::Spec;
use crate::model::grant::Grant;
use crate::wasm::instance::{Instance, NotAhead};
use crate::wasm::memory::Idle;
use crate::wasm::module::Module;
use crate::wasm::services::Services;

/// A policy's instance for the next request.
#[derive(Default)]
pub(crate) struct Ahead {
    place: Mutex<Place>,
    /// How often it took too long to make one.
    late: AtomicU32,
}

/// Number of late instances after which none is made ahead.
const MAX_LATE: u32 = 3;

#[derive(Default)]
enum Place {
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
        let mut place = self.place();
        match std::mem::take(&mut *place) {
            Place::Made(instance) => Some(instance),
            other => {
                *place = other;
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
            let mut place = self.place();
            if !matches!(*place, Place::Empty) || spec.grants.contains(&Grant::Clock) {
                return;
            }
            *place = Place::Making;
        }
        // Resets the state if this future is dropped half-way.
        let mut made = Making(self, Place::Empty);
        let (module, spec) = (Arc::clone(module), Arc::clone(spec));
        made.1 = match Instance::ahead(module, spec, Arc::clone(services)).await {
            Ok(instance) => {
                services.memory.made_ahead(self);
                Place::Made(instance)
            }
            Err(NotAhead::Now) => Place::Empty,
            Err(NotAhead::InTime) if self.late.fetch_add(1, Ordering::Relaxed) + 1 < MAX_LATE => {
                Place::Empty
            }
            Err(NotAhead::InTime | NotAhead::Ever) => Place::Never,
        };
        drop(made);
        if services.memory.is_short() {
            // A request that started waiting meanwhile did not see this instance.
            drop(self.take());
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock()
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

/// Restores the place when the guard drops.
struct Making<'a>(&'a Ahead, Place);

impl Drop for Making<'_> {
    fn drop(&mut self) {
        *self.0.place() = std::mem::take(&mut self.1);
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self.place() {
            Place::Empty => "Empty",
            Place::Making => "Making",
            Place::Made(_) => "Made",
            Place::Never => "Never",
        })
    }
}
