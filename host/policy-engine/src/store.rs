//! What one policy has in one request: the data of its store, and the limits on it.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::bindings::cnidaria::policy::types as wit;
use crate::config::{Limits, Spec, count};
use crate::memory;
use crate::report::{Finding, Hook, Severity, clean};
use crate::request::{Attachment, Command, RequestFacts};
use crate::services::Services;
use crate::state::PolicyState;
use crate::transaction::{
    AttachmentDraft, FinaleDraft, OutcomeDraft, SelectionsDraft, Transaction,
};

/// Bytes of the texts of a finding.
const MAX_FINDING: usize = 1024;

/// What the hook that is running works on. Handles of the guest point into it. It goes from hand to
/// hand, so it is small.
#[derive(Debug, Default)]
pub(crate) enum Stage {
    /// No hook with resources is running.
    #[default]
    Idle,
    /// The select hook.
    Select(Box<Transaction<SelectionsDraft>>),
    /// The before-add hook.
    BeforeAdd(Box<Transaction<AttachmentDraft>>),
    /// The after-add hook.
    AfterAdd {
        /// The attachment that stands.
        attachment: Arc<Attachment>,
        /// What its delegate answered.
        outcome: Box<Transaction<OutcomeDraft>>,
    },
    /// The finalize hook.
    Finalize {
        /// The attachments that stand.
        plan: Arc<[Attachment]>,
        /// Result and network-status.
        finale: Box<Transaction<FinaleDraft>>,
    },
    /// The check hook.
    Check {
        /// The stored attachment.
        attachment: Arc<Attachment>,
        /// The stored result.
        stored: Box<OutcomeDraft>,
    },
    /// The del hook.
    Del {
        /// The stored attachment.
        attachment: Arc<Attachment>,
    },
    /// The gc hook.
    Gc {
        /// The attachments that are in use.
        valid: Arc<[wit::ValidAttachment]>,
    },
}

impl Stage {
    /// The one attachment that the hook is about.
    pub(crate) fn attachment(&self) -> Option<&Attachment> {
        match self {
            Self::BeforeAdd(transaction) => Some(transaction.draft().attachment()),
            Self::AfterAdd { attachment, .. }
            | Self::Check { attachment, .. }
            | Self::Del { attachment } => Some(attachment),
            Self::Idle | Self::Select(_) | Self::Finalize { .. } | Self::Gc { .. } => None,
        }
    }
}

/// The data of one store: one policy in one request.
pub(crate) struct GuestState {
    spec: Arc<Spec>,
    facts: Arc<RequestFacts>,
    services: Arc<Services>,
    kept: Option<Arc<PolicyState>>,
    /// No request is there yet.
    ahead: bool,
    #[cfg(feature = "wasi")]
    wasi: Option<Box<crate::wasi::Wasi>>,
    hook: Hook,
    /// Counts the hooks that were entered, so that handles of an earlier one are told apart.
    turn: u16,
    findings: Vec<Finding>,
    /// What the hook that is running works on.
    pub(crate) stage: Stage,
    /// What memories, tables and instances count against.
    pub(crate) usage: Usage,
    /// What lines of log count against.
    pub(crate) log_budget: LogBudget,
    /// The last line that was logged as an error: what a panic says.
    pub(crate) last_words: Option<String>,
}

impl GuestState {
    /// The data of a fresh store.
    pub(crate) fn new(spec: Arc<Spec>, facts: Arc<RequestFacts>, services: Arc<Services>) -> Self {
        let limits = spec.limits;
        Self {
            kept: services.state_of(&spec),
            ahead: false,
            spec,
            facts,
            services,
            #[cfg(feature = "wasi")]
            wasi: None,
            hook: Hook::Configure,
            turn: 0,
            findings: Vec::new(),
            stage: Stage::Idle,
            usage: Usage {
                limits,
                memory: 0,
                table_elements: 0,
            },
            log_budget: LogBudget {
                lines: limits.log_lines,
                bytes: limits.log_bytes,
                spent: false,
            },
            last_words: None,
        }
    }

    /// The data of a store that is made before the request that it is for.
    pub(crate) fn ahead(spec: Arc<Spec>, services: Arc<Services>) -> Self {
        let facts = Arc::new(RequestFacts::of_node(Command::Status));
        Self {
            ahead: true,
            ..Self::new(spec, facts, services)
        }
    }

    /// Gives a store that was made ahead its request.
    pub(crate) fn serve(&mut self, facts: Arc<RequestFacts>) {
        self.facts = facts;
        self.ahead = false;
    }

    /// The policy.
    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The policy, to keep beside a borrow of the stage.
    pub(crate) fn shared_spec(&self) -> Arc<Spec> {
        Arc::clone(&self.spec)
    }

    /// The request.
    pub(crate) fn facts(&self) -> &RequestFacts {
        &self.facts
    }

    /// The request, to be told apart from others.
    pub(crate) fn shared_facts(&self) -> &Arc<RequestFacts> {
        &self.facts
    }

    /// What stands behind the grants. Before there is a request it would be out of date when one comes.
    ///
    /// # Errors
    /// A trap then.
    pub(crate) fn services(&self) -> wasmtime::Result<&Services> {
        match self.ahead {
            true => Err(Ahead.into()),
            false => Ok(&self.services),
        }
    }

    /// What the policy keeps between requests, where it may.
    ///
    /// # Errors
    /// As [`services`](Self::services).
    pub(crate) fn kept(&self) -> wasmtime::Result<Option<&Arc<PolicyState>>> {
        self.services().map(|_| self.kept.as_ref())
    }

    /// WASI, made when it is used first.
    #[cfg(feature = "wasi")]
    pub(crate) fn wasi(&mut self) -> &mut crate::wasi::Wasi {
        let spec = &self.spec;
        self.wasi
            .get_or_insert_with(|| Box::new(crate::wasi::Wasi::new(spec)))
    }

    /// Logs what the guest wrote to standard output and error since the last time.
    pub(crate) fn log_output(&mut self) {
        #[cfg(feature = "wasi")]
        if let Some(wasi) = &mut self.wasi {
            let output = wasi.take_output();
            let lines: Vec<&str> = output
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect();
            for line in &lines {
                self.write_log(tracing::Level::INFO, line);
            }
            if !lines.is_empty() {
                // An exception of other languages takes several lines, the last of which may be
                // advice.
                self.last_words = Some(clean(&lines.join(" / "), MAX_FINDING));
            }
        }
    }

    /// The hook that is running.
    pub(crate) fn hook(&self) -> Hook {
        self.hook
    }

    /// Begins a hook.
    pub(crate) fn enter(&mut self, hook: Hook, stage: Stage) {
        self.hook = hook;
        self.turn = self.turn.wrapping_add(1);
        self.stage = stage;
        self.last_words = None;
    }

    /// Ends a hook: what it worked on, and what was reported.
    pub(crate) fn leave(&mut self) -> (Stage, Vec<Finding>) {
        self.log_output();
        (
            std::mem::take(&mut self.stage),
            std::mem::take(&mut self.findings),
        )
    }

    /// Takes a finding of the guest, if there is room.
    pub(crate) fn report(&mut self, finding: wit::Finding) {
        if self.findings.len() >= count(self.spec.limits.findings) {
            return;
        }
        self.findings.push(Finding {
            policy: self.spec.name.to_string(),
            hook: self.hook,
            severity: match finding.severity {
                wit::Severity::Info => Severity::Info,
                wit::Severity::Warning => Severity::Warning,
            },
            code: clean(&finding.code, 64),
            message: clean(&finding.message, MAX_FINDING),
        });
    }

    /// The number of a handle of a part of what the hook that is running works on.
    pub(crate) fn number(&self, part: u16) -> u32 {
        u32::from(self.turn) << u16::BITS | u32::from(part)
    }

    /// The part that a handle stands for; `None` when it is one of an earlier hook.
    pub(crate) fn part(&self, number: u32) -> Option<usize> {
        let (turn, part) = (number >> u16::BITS, number & u32::from(u16::MAX));
        (turn == u32::from(self.turn)).then(|| index(part))
    }

    /// The trap of a handle that points to what is not there in this hook.
    pub(crate) fn stale(&self, resource: &'static str) -> impl Fn() -> wasmtime::Error + use<> {
        let hook = self.hook;
        move || Stale { resource, hook }.into()
    }
}

/// A guest that is started ahead of its request wants to know what may change until then.
#[derive(Debug, thiserror::Error)]
#[error("used a grant before there was a request")]
struct Ahead;

/// A guest used a handle that it kept from another hook.
#[derive(Debug, thiserror::Error)]
#[error("a handle of {resource} that does not belong to this call was used in hook {hook}")]
struct Stale {
    resource: &'static str,
    hook: Hook,
}

/// A guest's index as the host's.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A limit on what the guest allocates was reached.
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

impl Usage {
    /// What it counts for in the memory of all guests.
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
            // A trap with a reason; by the specification the guest would get -1 and most guests
            // would abort without one.
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

/// What a policy may still log in this request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogBudget {
    lines: u64,
    bytes: u64,
    spent: bool,
}

impl LogBudget {
    /// Whether there is room for one more line of `bytes`.
    pub(crate) fn take(&mut self, bytes: usize) -> Room {
        if self.spent {
            return Room::None;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match (self.lines.checked_sub(1), self.bytes.checked_sub(bytes)) {
            (Some(lines), Some(bytes)) => {
                (self.lines, self.bytes) = (lines, bytes);
                Room::Left
            }
            _ => {
                self.spent = true;
                Room::JustEnded
            }
        }
    }
}

/// Whether a line goes into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It does.
    Left,
    /// It is the first one that does not.
    JustEnded,
    /// It does not, and neither did the one before.
    None,
}
