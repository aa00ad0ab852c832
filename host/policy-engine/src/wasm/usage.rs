//! What a store has allocated, and the limits on it.

use wasmtime::ResourceLimiter;

use crate::config::{Limits, count};
use crate::wasm::memory;

/// The guest reached an allocation limit.
#[derive(Debug, thiserror::Error)]
#[error("{asked} {what} were asked for, limits.{key} allows {limit}")]
pub(crate) struct LimitReached {
    what: &'static str,
    key: &'static str,
    asked: usize,
    limit: usize,
}

/// What one store has allocated.
#[derive(Debug)]
pub(crate) struct Usage {
    limits: Limits,
    memory: usize,
    table_elements: usize,
}

impl LimitReached {
    /// The policy looked at too many attachments.
    pub(crate) fn attachments(limit: u64) -> Self {
        Self {
            what: "attachments of the node",
            key: "attachments",
            asked: count(limit).saturating_add(1),
            limit: count(limit),
        }
    }
}

impl Usage {
    /// Nothing is allocated yet.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            memory: 0,
            table_elements: 0,
        }
    }

    /// Bytes of all linear memories.
    pub(crate) fn memory(&self) -> u64 {
        u64::try_from(self.memory).unwrap_or(u64::MAX)
    }

    /// Bytes charged to the memory of all guests.
    pub(crate) fn allocated(&self) -> u64 {
        let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        memory::allocated(bytes(self.memory), bytes(self.table_elements))
    }

    fn grow(
        total: &mut usize,
        by: usize,
        (what, key, limit): (&'static str, &'static str, u64),
    ) -> wasmtime::Result<bool> {
        let limit = count(limit);
        let asked = total.saturating_add(by);
        if asked > limit {
            // Trap with a reason. By the specification the guest gets -1, and most abort without
            // one.
            return Err(LimitReached {
                what,
                key,
                asked,
                limit,
            }
            .into());
        }
        *total = asked;
        Ok(true)
    }
}

impl ResourceLimiter for Usage {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = ("bytes of memory", "memoryBytes", self.limits.memory_bytes);
        Self::grow(&mut self.memory, desired.saturating_sub(current), limit)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = (
            "elements of tables",
            "tableElements",
            self.limits.table_elements,
        );
        Self::grow(
            &mut self.table_elements,
            desired.saturating_sub(current),
            limit,
        )
    }

    fn instances(&self) -> usize {
        count(self.limits.instances)
    }

    fn tables(&self) -> usize {
        count(self.limits.tables)
    }

    fn memories(&self) -> usize {
        count(self.limits.memories)
    }
}
