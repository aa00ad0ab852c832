//! One policy's instance in one request: fresh, limited, and dropped afterwards. It may be made
//! ahead of the request, which its start functions never see.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::Instance as WasmInstance;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::config::{Limits, Spec, count};
use crate::model::report::{Cause, Hook, clean};
use crate::model::request::RequestFacts;
use crate::wasm::allowance::{Allowance, TimeBudget};
use crate::wasm::hooks::{Answer, Loaded};
use crate::wasm::memory::{Account, Reservation};
use crate::wasm::module::Module;
use crate::wasm::running::{DeadlinePassed, arm};
use crate::wasm::services::Services;
use crate::wasm::stage::Stage;
use crate::wasm::store::{GuestState, LogBudget};
use crate::wasm::trials::First;
use crate::wasm::usage::LimitReached;

/// Maximum number of resource handles that a guest may hold at a time.
const MAX_HANDLES: usize = 1024;
/// Time limit of making an instance ahead: start functions that take longer run in the request,
/// which pays for them.
const AHEAD: Duration = Duration::from_millis(50);
/// Maximum bytes of a failure's reason.
const MAX_REASON: usize = 1024;

/// A call failed to produce an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Selects the failure policy.
    pub(crate) cause: Cause,
    pub(crate) reason: String,
}

/// Why no instance could be made ahead of a request.
pub(crate) enum NotAhead {
    /// All slots are taken at the moment.
    Now,
    /// The start functions take long, or the machine is busy.
    InTime,
    /// The start functions fail, or read what may change before the request.
    Ever,
}

/// An instance could not be made: its start functions failed, or memory or slots ran out.
struct Unmade {
    error: wasmtime::Error,
    /// The guest's own explanation, if it logged one.
    last_words: Option<String>,
}

impl Unmade {
    fn lacks_slot(&self) -> bool {
        self.error.is::<PoolConcurrencyLimitError>()
    }
}

impl From<wasmtime::Error> for Unmade {
    fn from(error: wasmtime::Error) -> Self {
        Self {
            error,
            last_words: None,
        }
    }
}

/// A new instance whose memory is not charged yet.
struct Made {
    store: Store<GuestState>,
    instance: WasmInstance,
    module: Arc<Module>,
}

impl Made {
    /// Charges the reservation and returns what is not needed.
    fn within(self, mut reservation: Reservation) -> Instance {
        reservation.lower(retained(&self.store, &self.module));
        Instance {
            store: self.store,
            instance: self.instance,
            loaded: Box::new(self.module.hooks.unloaded()),
            module: self.module,
            waited: Duration::ZERO,
            reservation,
        }
    }
}

/// One policy's instance in one request. Kept small: moved between futures often.
pub(crate) struct Instance {
    store: Store<GuestState>,
    instance: WasmInstance,
    loaded: Box<Loaded>,
    module: Arc<Module>,
    /// How long the last call waited and need not pay for.
    waited: Duration,
    /// Its share of guest memory; declared last, so released after the store is dropped.
    reservation: Reservation,
}

impl Instance {
    /// Instantiates the policy in reserved memory. Start functions run under the deadline of one
    /// hook.
    pub(crate) async fn new(
        module: Arc<Module>,
        spec: Arc<Spec>,
        facts: Arc<RequestFacts>,
        services: Arc<Services>,
        (reservation, allowance): (Reservation, Allowance),
    ) -> Result<Self, Failure> {
        let limits = spec.limits;
        let state =
            || GuestState::new(Arc::clone(&spec), Arc::clone(&facts), Arc::clone(&services));
        let mut made = Self::of(&module, state(), allowance).await;
        if let Err(unmade) = &made
            && unmade.lacks_slot()
            && let Some(plain) = module.without_slots().await
        {
            made = match plain {
                Ok(plain) => Self::of(&plain, state(), allowance).await,
                Err(error) => Err(error.into()),
            };
        }
        made.map(|made| made.within(reservation))
            .map_err(|Unmade { error, last_words }| failure(&error, limits, last_words.as_deref()))
    }

    /// Instantiates the policy ahead of a request.
    ///
    /// # Errors
    /// [`NotAhead`] without a free slot, or if the start functions do not allow it.
    pub(crate) async fn ahead(
        module: Arc<Module>,
        spec: Arc<Spec>,
        services: Arc<Services>,
    ) -> Result<Self, NotAhead> {
        let account = services.memory.account("");
        let reservation = account.try_reserve(&spec.name, module.most(&spec.limits));
        let reservation = reservation.ok_or(NotAhead::Now)?;
        let allowance = Allowance::of_call(&spec.limits).min(AHEAD, TimeBudget::Call);
        let made = Self::of(&module, GuestState::ahead(spec, services), allowance).await;
        let mut made = made
            .map(|made| made.within(reservation))
            .map_err(|unmade| match () {
                () if unmade.lacks_slot() => NotAhead::Now,
                () if unmade.error.is::<DeadlinePassed>() => NotAhead::InTime,
                () => NotAhead::Ever,
            })?;
        made.load_hooks().map_err(|_| NotAhead::Ever)?;
        Ok(made)
    }

    /// Assigns a request to an instance that was made ahead.
    ///
    /// Returns the time that making it took, which is the request's to pay.
    pub(crate) fn serve(&mut self, facts: Arc<RequestFacts>, account: &Arc<Account>) -> Duration {
        self.reservation.move_to(account);
        self.store.data_mut().serve(facts);
        self.made_in()
    }

    /// Waits for the memory of one call: all that the policy's limits allow.
    pub(crate) async fn reserve(&mut self) {
        let most = self.module.most(&self.limits());
        self.reservation.raise(most).await;
    }

    async fn of(
        module: &Arc<Module>,
        state: GuestState,
        allowance: Allowance,
    ) -> Result<Made, Unmade> {
        let limits = state.spec().limits;
        let first = match (state.is_ahead(), module.uses_slots()) {
            (true, _) => First::StartAhead,
            (false, true) => First::StartInSlot,
            (false, false) => First::Start,
        };
        let mut store = Store::new(module.pre.engine(), state);
        store.limiter(|state| &mut state.usage);
        store.set_hostcall_fuel(count(limits.host_call_bytes));
        store.set_max_component_handles(MAX_HANDLES);
        let armed = arm(&mut store, allowance);
        let mark = module.trials.begin(first);
        let start = Instant::now();
        let call = module.pre.instantiate_async(&mut store);
        let (made, waited) = armed.run(call).await;
        if mark.is_some() {
            module.trials.returned(first);
        }
        drop(mark);
        store.data_mut().made_in = start.elapsed().saturating_sub(waited);
        let instance = match made {
            Ok(instance) => instance,
            Err(error) => {
                let state = store.data_mut();
                state.log_output();
                let last_words = state.last_words.take();
                return Err(Unmade { error, last_words });
            }
        };
        Ok(Made {
            store,
            instance,
            module: Arc::clone(module),
        })
    }

    /// Looks up every hook, which checks its type. Called when the policy is loaded and for an
    /// instance made ahead; otherwise each hook is looked up on its first call.
    pub(crate) fn load_hooks(&mut self) -> Result<(), crate::wasm::hooks::Error> {
        *self.loaded = self.module.hooks.load(&mut self.store, &self.instance)?;
        Ok(())
    }

    /// Offers the settings. Called once, when the policy is loaded.
    ///
    /// # Errors
    /// The inner error is the policy's rejection of the settings.
    pub(crate) async fn configure(
        &mut self,
        settings: &str,
    ) -> Result<Result<(), String>, Failure> {
        self.store.data_mut().enter(Hook::Configure, Stage::Idle);
        let allowance = Allowance::of_call(&self.limits());
        self.reserve().await;
        let armed = arm(&mut self.store, allowance);
        let (store, instance, hooks) = (&mut self.store, &self.instance, &self.module.hooks);
        let call = hooks.configure(store, instance, settings);
        let (answer, _) = armed.run(call).await;
        match answer {
            Ok(answer) => Ok(answer.map_err(|reason| clean(&reason, MAX_REASON))),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Calls a hook that the module has; returns its stage. [Reserve](Self::reserve) memory first.
    ///
    /// Do not use the instance again after a failure.
    pub(crate) async fn call(
        &mut self,
        hook: Hook,
        stage: Stage,
        allowance: Allowance,
    ) -> Result<(Answer, Stage, Vec<crate::model::report::Finding>), Failure> {
        self.store.data_mut().enter(hook, stage);
        let armed = arm(&mut self.store, allowance);
        let mark = self.module.trials.begin(hook);
        let (answer, waited) = {
            let (store, instance, hooks) = (&mut self.store, &self.instance, &self.module.hooks);
            // Pinned, so that nothing large is moved from one future into the next.
            let call = pin!(hooks.call(hook, store, instance, &mut self.loaded));
            armed.run(call).await
        };
        self.waited = waited;
        if mark.is_some() {
            self.module.trials.returned(hook);
        }
        drop(mark);
        self.reservation.lower(retained(&self.store, &self.module));
        match answer {
            Ok(answer) => {
                let state = self.store.data_mut();
                let answer = match answer {
                    Answer::Findings(findings) => {
                        for finding in findings {
                            state.report(finding);
                        }
                        Answer::Accept
                    }
                    answer => answer,
                };
                let (stage, findings) = state.leave();
                Ok((answer, stage, findings))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// How long the last call waited and need not pay for.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// How long making it took.
    pub(crate) fn made_in(&self) -> Duration {
        self.store.data().made_in
    }

    /// Bytes of its linear memories, and the limit.
    pub(crate) fn memory(&self) -> (u64, u64) {
        (self.store.data().usage.memory(), self.limits().memory_bytes)
    }

    /// Lines logged in this request, and the limit.
    pub(crate) fn log_lines(&self) -> (u64, u64) {
        let limit = self.limits().log_lines;
        (self.log_budget().logged(limit), limit)
    }

    /// The remaining log budget for this request.
    pub(crate) fn log_budget(&self) -> LogBudget {
        self.store.data().log_budget
    }

    /// Limits the log to what a failed predecessor left.
    pub(crate) fn limit_log(&mut self, budget: LogBudget) {
        self.store.data_mut().log_budget = budget;
    }

    fn limits(&self) -> Limits {
        self.store.data().spec().limits
    }

    fn failed(&mut self, error: &wasmtime::Error) -> Failure {
        self.store.data_mut().log_output();
        failure(
            error,
            self.limits(),
            self.store.data().last_words.as_deref(),
        )
    }
}

/// Bytes that an instance keeps between calls.
fn retained(store: &Store<GuestState>, module: &Module) -> u64 {
    let allocated = store.data().usage.allocated();
    allocated.saturating_add(module.footprint.bytes())
}

/// Maps a call's error to a failure for the operator.
fn failure(error: &wasmtime::Error, limits: Limits, last_words: Option<&str>) -> Failure {
    let (cause, reason) = if let Some(passed) = error.downcast_ref::<DeadlinePassed>() {
        (Cause::Timeout, passed.to_string())
    } else if let Some(reached) = error.downcast_ref::<LimitReached>() {
        (Cause::Limit, reached.to_string())
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        match trap {
            Trap::StackOverflow => {
                let limit = limits.stack_bytes;
                let reason = format!("used up its {limit} bytes of stack (limits.stackBytes)");
                (Cause::Limit, reason)
            }
            trap => (Cause::Trap, trap.to_string()),
        }
    } else {
        let text = format!("{error:#}");
        // wasmtime has no error types for these two.
        if text.contains("too much data is being copied") {
            let limit = limits.host_call_bytes;
            (
                Cause::Limit,
                format!(
                    "handed more than {limit} bytes to the host in one call (limits.hostCallBytes)"
                ),
            )
        } else if text.contains("resource limit exceeded") {
            (
                Cause::Limit,
                format!("{text} (limits.instances, limits.tables or limits.memories)"),
            )
        } else {
            (Cause::Trap, text)
        }
    };
    let reason = match last_words {
        Some(words) if cause == Cause::Trap => format!("{reason}: {words}"),
        _ => reason,
    };
    Failure {
        cause,
        reason: clean(&reason, MAX_REASON),
    }
}
