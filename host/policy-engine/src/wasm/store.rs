//! The store data of one policy in one request, and the limits on it.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::config::{Limits, Spec, count};
use crate::model::grant::Grant;
use crate::model::report::{AddFailure, Finding, Hook, Severity, clean};
use crate::model::request::{Command, PolicyAttachment, RequestFacts};
use crate::state::PolicyState;
use crate::transaction::{
    AttachmentDraft, FinaleDraft, OutcomeDraft, SelectionsDraft, Transaction,
};
use crate::wasm::bindings::cnidaria::policy::types as wit;
use crate::wasm::memory;
use crate::wasm::services::Services;
use crate::wasm::turns::{Turn, Who};

/// Maximum bytes of a finding's text.
const MAX_FINDING: usize = 1024;
/// Maximum fields of a finding, and bytes of their names and values.
const MAX_FIELDS: usize = 16;
const MAX_FIELD_NAME: usize = 63;
const MAX_FIELD: usize = 253;

/// The attachments of a plan whose before-add hooks are running.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    /// The earlier ones as policies left them, the later ones as resolved.
    pub(crate) all: Arc<[Arc<PolicyAttachment>]>,
    /// Index of the hook's own.
    pub(crate) position: usize,
}

/// What the running hook works on; guest handles point into it. Kept small: moved often.
#[derive(Debug, Default)]
pub(crate) enum Stage {
    /// No hook with resources is running.
    #[default]
    Idle,
    Select(Box<Transaction<SelectionsDraft>>),
    ValidateSelections(Arc<SelectionsDraft>),
    BeforeAdd {
        /// The attachment being edited.
        attachment: Box<Transaction<AttachmentDraft>>,
        /// It among the others.
        plan: Planned,
    },
    ValidatePlan {
        /// The attachments after all policies.
        plan: Arc<[PolicyAttachment]>,
    },
    AfterAdd {
        /// The finished attachment.
        attachment: Arc<PolicyAttachment>,
        /// The delegate's result.
        outcome: Box<Transaction<OutcomeDraft>>,
    },
    Finalize {
        /// The finished attachments.
        plan: Arc<[PolicyAttachment]>,
        /// Result and network-status.
        finale: Box<Transaction<FinaleDraft>>,
    },
    ValidateResult {
        /// The finished attachments.
        plan: Arc<[PolicyAttachment]>,
        /// Result and network-status after all policies.
        finale: Arc<FinaleDraft>,
    },
    AddFailed {
        /// The attachments that were planned.
        plan: Arc<[PolicyAttachment]>,
        /// Why the ADD failed.
        why: Arc<AddFailure>,
    },
    Check {
        /// The stored attachment.
        attachment: Arc<PolicyAttachment>,
        /// The stored result.
        stored: Arc<OutcomeDraft>,
    },
    Del {
        /// The stored attachment.
        attachment: Arc<PolicyAttachment>,
        /// The stored result.
        stored: Arc<OutcomeDraft>,
    },
    Gc {
        /// Container id and interface of the attachments in use.
        valid: Arc<[(String, String)]>,
    },
}

impl Stage {
    /// The attachment that the hook works on, if there is exactly one.
    pub(crate) fn attachment(&self) -> Option<&PolicyAttachment> {
        match self {
            Self::BeforeAdd { attachment, .. } => Some(attachment.draft().attachment()),
            Self::AfterAdd { attachment, .. }
            | Self::Check { attachment, .. }
            | Self::Del { attachment, .. } => Some(attachment),
            _ => None,
        }
    }

    /// The attachments of a plan that cannot be edited any more.
    pub(crate) fn plan(&self) -> Option<&Arc<[PolicyAttachment]>> {
        match self {
            Self::ValidatePlan { plan }
            | Self::Finalize { plan, .. }
            | Self::ValidateResult { plan, .. }
            | Self::AddFailed { plan, .. } => Some(plan),
            _ => None,
        }
    }

    /// Result and network-status of the whole request.
    pub(crate) fn finale(&self) -> Option<&FinaleDraft> {
        match self {
            Self::Finalize { finale, .. } => Some(finale.draft()),
            Self::ValidateResult { finale, .. } => Some(finale),
            _ => None,
        }
    }
}

/// The store data of one policy in one request.
pub(crate) struct GuestState {
    spec: Arc<Spec>,
    facts: Arc<RequestFacts>,
    services: Arc<Services>,
    policy_state: Option<Arc<PolicyState>>,
    /// The store was made ahead and has no request yet.
    ahead: bool,
    /// The time that instantiation took.
    pub(crate) made_in: Duration,
    #[cfg(feature = "wasi")]
    wasi: Option<Box<crate::wasm::wasi::Wasi>>,
    hook: Hook,
    /// Counts the hooks entered, to recognise stale handles from earlier hooks.
    turn: u16,
    findings: Vec<Finding>,
    /// What the running hook works on.
    pub(crate) stage: Stage,
    /// Usage of memories, tables and instances against their limits.
    pub(crate) usage: Usage,
    /// What the policy may still log.
    pub(crate) log_budget: LogBudget,
    /// The last error line logged: a panic's message.
    pub(crate) last_words: Option<String>,
}

impl GuestState {
    pub(crate) fn new(spec: Arc<Spec>, facts: Arc<RequestFacts>, services: Arc<Services>) -> Self {
        let limits = spec.limits;
        Self {
            policy_state: services.state_of(&spec),
            ahead: false,
            made_in: Duration::ZERO,
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

    /// The data of a store made ahead of its request.
    pub(crate) fn ahead(spec: Arc<Spec>, services: Arc<Services>) -> Self {
        let facts = Arc::new(RequestFacts::of_node(Command::Status));
        Self {
            ahead: true,
            ..Self::new(spec, facts, services)
        }
    }

    /// Whether the store has no request yet.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead
    }

    /// Assigns a request to a store that was made ahead.
    pub(crate) fn serve(&mut self, facts: Arc<RequestFacts>) {
        self.facts = facts;
        self.ahead = false;
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The policy's configuration, shared so that the stage can be borrowed at the same time.
    pub(crate) fn shared_spec(&self) -> Arc<Spec> {
        Arc::clone(&self.spec)
    }

    pub(crate) fn facts(&self) -> &RequestFacts {
        &self.facts
    }

    /// The shared facts, for comparing requests by identity.
    pub(crate) fn shared_facts(&self) -> &Arc<RequestFacts> {
        &self.facts
    }

    /// The services behind the grants.
    ///
    /// # Errors
    /// Traps in a store made ahead: what the guest reads now could be stale when its request comes.
    pub(crate) fn services(&self) -> wasmtime::Result<&Services> {
        match self.ahead {
            true => Err(Ahead.into()),
            false => Ok(&self.services),
        }
    }

    /// The turns of one call.
    pub(crate) fn turn(&self) -> Turn {
        let pod = self.facts.pod.as_ref();
        self.services.turns.of(Who {
            policy: Arc::clone(&self.spec.name),
            namespace: pod.map_or_else(Arc::default, |pod| pod.namespace.as_str().into()),
        })
    }

    /// The services, for a function that needs `grant`.
    ///
    /// # Errors
    /// Same as [`services`](Self::services).
    pub(crate) fn granted(&self, grant: Grant) -> wasmtime::Result<&Services> {
        let services = self.services()?;
        services.used(grant);
        Ok(services)
    }

    /// The policy's state kept between requests, if it has the grant.
    ///
    /// # Errors
    /// Same as [`services`](Self::services).
    pub(crate) fn policy_state(&self) -> wasmtime::Result<Option<&Arc<PolicyState>>> {
        self.granted(Grant::State)
            .map(|_| self.policy_state.as_ref())
    }

    /// WASI, created on first use.
    #[cfg(feature = "wasi")]
    pub(crate) fn wasi(&mut self) -> &mut crate::wasm::wasi::Wasi {
        let spec = &self.spec;
        self.wasi
            .get_or_insert_with(|| Box::new(crate::wasm::wasi::Wasi::new(spec)))
    }

    /// Logs what the guest has written to standard output and error since the last call.
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
                // Exceptions in other languages span several lines; the last may be just a hint.
                self.last_words = Some(clean(&lines.join(" / "), MAX_FINDING));
            }
        }
    }

    /// The running hook.
    pub(crate) fn hook(&self) -> Hook {
        self.hook
    }

    pub(crate) fn enter(&mut self, hook: Hook, stage: Stage) {
        self.hook = hook;
        self.turn = self.turn.wrapping_add(1);
        self.stage = stage;
        self.last_words = None;
    }

    /// Ends a hook and returns its stage and findings.
    pub(crate) fn leave(&mut self) -> (Stage, Vec<Finding>) {
        self.log_output();
        (
            std::mem::take(&mut self.stage),
            std::mem::take(&mut self.findings),
        )
    }

    /// Records a finding of the guest, within the limit on findings.
    pub(crate) fn report(&mut self, finding: wit::Finding) {
        if self.findings.len() >= count(self.spec.limits.findings) {
            return;
        }
        let fields = finding.fields.into_iter().take(MAX_FIELDS);
        self.findings.push(Finding {
            policy: self.spec.name.to_string(),
            hook: self.hook,
            severity: match finding.severity {
                wit::Severity::Info => Severity::Info,
                wit::Severity::Warning => Severity::Warning,
            },
            code: clean(&finding.code, 64),
            message: clean(&finding.message, MAX_FINDING),
            fields: fields
                .map(|(name, value)| (clean(&name, MAX_FIELD_NAME), clean(&value, MAX_FIELD)))
                .collect(),
        });
    }

    /// The handle number for a part of the running hook's stage.
    pub(crate) fn number(&self, part: u16) -> u32 {
        u32::from(self.turn) << u16::BITS | u32::from(part)
    }

    /// The part that a handle stands for; `None` if the handle is from an earlier hook.
    pub(crate) fn part(&self, number: u32) -> Option<usize> {
        let (turn, part) = (number >> u16::BITS, number & u32::from(u16::MAX));
        (turn == u32::from(self.turn)).then(|| index(part))
    }

    /// The trap for a handle that does not exist in the running hook.
    pub(crate) fn stale(&self, resource: &'static str) -> impl Fn() -> wasmtime::Error + use<> {
        let hook = self.hook;
        move || Stale { resource, hook }.into()
    }
}

/// A guest made ahead of its request reads what may change before the request comes.
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

/// Converts a guest's index to the host's type.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

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

impl Usage {
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

/// What a policy may still log in this request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogBudget {
    lines: u64,
    bytes: u64,
    spent: bool,
}

impl LogBudget {
    /// Lines logged so far, of `limit`.
    pub(crate) fn logged(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.lines)
    }

    /// Charges a line of `bytes` and says whether it fits.
    pub(crate) fn take(&mut self, bytes: usize) -> LogRoom {
        if self.spent {
            return LogRoom::None;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match (self.lines.checked_sub(1), self.bytes.checked_sub(bytes)) {
            (Some(lines), Some(bytes)) => {
                (self.lines, self.bytes) = (lines, bytes);
                LogRoom::Left
            }
            _ => {
                self.spent = true;
                LogRoom::JustEnded
            }
        }
    }
}

/// Whether a line may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogRoom {
    /// It fits.
    Left,
    /// It is the first line that does not fit.
    JustEnded,
    /// An earlier line already did not fit.
    None,
}
