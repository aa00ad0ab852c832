//! What a module does for the first time in this process, when it is most likely to crash it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::model::report::Hook;

/// Marks of what modules are about to do, which a crash of the process leaves behind.
pub(crate) trait CrashMarks: Send + Sync {
    /// Marks that a module does something for the first time in this process.
    fn mark(self: Arc<Self>, digest: &str, policy: &str, first: First) -> Mark;
}

/// A mark, removed on drop.
pub(crate) type Mark = Box<dyn Send>;

/// What a module does for the first time in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// A call of a hook; `configure` covers loading.
    Call(Hook),
    /// Start functions, in a request, without a slot.
    Start,
    /// Start functions, in a request and a slot.
    StartInSlot,
    /// Start functions, ahead of a request.
    StartAhead,
}

impl First {
    fn bit(self) -> u32 {
        match self {
            Self::Call(hook) => 1 << hook as u32,
            Self::Start => 1 << 16,
            Self::StartInSlot => 1 << 17,
            Self::StartAhead => 1 << 18,
        }
    }
}

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(hook) => f.write_str(hook.as_str()),
            Self::Start | Self::StartInSlot | Self::StartAhead => f.write_str("instantiation"),
        }
    }
}

impl From<Hook> for First {
    fn from(hook: Hook) -> Self {
        Self::Call(hook)
    }
}

/// What a module has done in this process.
pub(crate) struct Trials {
    marks: Arc<dyn CrashMarks>,
    digest: String,
    policy: String,
    returned: AtomicU32,
}

impl Trials {
    pub(crate) fn new(marks: Arc<dyn CrashMarks>, digest: &str, policy: &str) -> Self {
        Self {
            marks,
            digest: digest.to_owned(),
            policy: policy.to_owned(),
            returned: AtomicU32::new(0),
        }
    }

    /// Call before a hook or start functions run; `None` if they have returned before.
    pub(crate) fn begin(&self, first: impl Into<First>) -> Option<Mark> {
        let first = first.into();
        let is_new = self.returned.load(Ordering::Relaxed) & first.bit() == 0;
        is_new.then(|| Arc::clone(&self.marks).mark(&self.digest, &self.policy, first))
    }

    /// Call when they have returned, whatever the answer.
    pub(crate) fn returned(&self, first: impl Into<First>) {
        self.returned
            .fetch_or(first.into().bit(), Ordering::Relaxed);
    }
}
