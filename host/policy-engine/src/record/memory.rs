//! Records in memory, for tests of policies.

use parking_lot::Mutex;

use super::form::Recorded;
use super::tape::{Sink, Tape};

/// The requests of a trial.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Vec<Recorded>>);

impl Memory {
    /// Takes the requests so far, in order.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Sink for Memory {
    fn is_on(&self) -> bool {
        true
    }

    fn take(&self, tape: Tape) {
        let mut records = self.0.lock();
        records.push(Recorded::of(tape));
    }
}
