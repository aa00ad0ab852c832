//! The hooks of one version of the package: where a module exports them and how to call them. The
//! versions differ in their bindings and in handle ownership.

/// Defines `Calls` for the exports of one version's bindings; `$lend` makes a resource handle.
macro_rules! calls {
    ($exports:path, $lend:ident) => {
        use std::sync::Arc;

        use wasmtime::Store;
        use wasmtime::component::{Instance, InstancePre, Resource};

        use crate::wasm::hooks::{Answer, Error};
        use crate::wasm::bindings::cnidaria::policy::types::{Denial, Verdict};
        use crate::model::report::Hook;
        use crate::wasm::store::{GuestState, Stage};
        use $exports as exports;

        /// Indexes of each hook's exports in the instances of one module.
        #[derive(Clone, Default)]
        pub(crate) struct Calls {
            configure: Option<exports::configure::GuestIndices>,
            select: Option<exports::select::GuestIndices>,
            before_add: Option<exports::before_add::GuestIndices>,
            after_add: Option<exports::after_add::GuestIndices>,
            finalize: Option<exports::finalize::GuestIndices>,
            check: Option<exports::check::GuestIndices>,
            status: Option<exports::status::GuestIndices>,
            del: Option<exports::del::GuestIndices>,
            gc: Option<exports::gc::GuestIndices>,
        }

        /// The hooks of one instance that were looked up so far.
        #[derive(Default)]
        pub(crate) struct Loaded {
            configure: Option<exports::configure::Guest>,
            select: Option<exports::select::Guest>,
            before_add: Option<exports::before_add::Guest>,
            after_add: Option<exports::after_add::Guest>,
            finalize: Option<exports::finalize::Guest>,
            check: Option<exports::check::Guest>,
            status: Option<exports::status::Guest>,
            del: Option<exports::del::Guest>,
            gc: Option<exports::gc::Guest>,
        }

        impl Calls {
            /// Finds the hooks that the module exports.
            pub(crate) fn find(
                hooks: &[Hook],
                pre: &InstancePre<GuestState>,
            ) -> Result<Self, Error> {
                let mut calls = Self::default();
                for hook in hooks.iter().copied() {
                    calls
                        .find_one(hook, pre)
                        .map_err(|source| Error::Malformed { hook, source })?;
                }
                Ok(calls)
            }

            fn find_one(
                &mut self,
                hook: Hook,
                pre: &InstancePre<GuestState>,
            ) -> wasmtime::Result<()> {
                macro_rules! find {
                    ($field:ident) => {
                        self.$field = Some(exports::$field::GuestIndices::new(pre)?)
                    };
                }
                match hook {
                    Hook::Configure => find!(configure),
                    Hook::Select => find!(select),
                    Hook::BeforeAdd => find!(before_add),
                    Hook::AfterAdd => find!(after_add),
                    Hook::Finalize => find!(finalize),
                    Hook::Check => find!(check),
                    Hook::Status => find!(status),
                    Hook::Del => find!(del),
                    Hook::Gc => find!(gc),
                }
                Ok(())
            }

            /// Looks up all hooks in one instance, which also checks their types.
            pub(crate) fn load(
                &self,
                store: &mut Store<GuestState>,
                instance: &Instance,
            ) -> Result<Loaded, Error> {
                let mut loaded = Loaded::default();
                macro_rules! load {
                    ($field:ident $hook:expr) => {
                        if let Some(indices) = &self.$field {
                            let guest = indices.load(&mut *store, instance);
                            loaded.$field = Some(guest.map_err(|source| Error::Malformed {
                                hook: $hook,
                                source,
                            })?);
                        }
                    };
                }
                load!(configure Hook::Configure);
                load!(select Hook::Select);
                load!(before_add Hook::BeforeAdd);
                load!(after_add Hook::AfterAdd);
                load!(finalize Hook::Finalize);
                load!(check Hook::Check);
                load!(status Hook::Status);
                load!(del Hook::Del);
                load!(gc Hook::Gc);
                Ok(loaded)
            }

            /// Whether the module has the hook.
            pub(crate) fn has(&self, hook: Hook) -> bool {
                match hook {
                    Hook::Configure => self.configure.is_some(),
                    Hook::Select => self.select.is_some(),
                    Hook::BeforeAdd => self.before_add.is_some(),
                    Hook::AfterAdd => self.after_add.is_some(),
                    Hook::Finalize => self.finalize.is_some(),
                    Hook::Check => self.check.is_some(),
                    Hook::Status => self.status.is_some(),
                    Hook::Del => self.del.is_some(),
                    Hook::Gc => self.gc.is_some(),
                }
            }

            /// Offers the settings, if the module has the hook.
            pub(crate) async fn configure(
                &self,
                store: &mut Store<GuestState>,
                instance: &Instance,
                settings: &str,
            ) -> wasmtime::Result<Result<(), String>> {
                let Some(hook) = &self.configure else {
                    return Ok(Ok(()));
                };
                let guest = hook.load(&mut *store, instance)?;
                guest.call_configure(&mut *store, settings).await
            }

            /// Calls any other hook on the stage in the store, looking it up if needed.
            pub(crate) async fn call(
                &self,
                hook: Hook,
                store: &mut Store<GuestState>,
                instance: &Instance,
                loaded: &mut Loaded,
            ) -> wasmtime::Result<Answer> {
                macro_rules! guest {
                    ($field:ident) => {
                        match &mut loaded.$field {
                            Some(guest) => guest,
                            none => {
                                let indices = self.$field.as_ref();
                                let indices = indices.ok_or_else(|| {
                                    wasmtime::Error::msg("the module lacks the hook")
                                })?;
                                none.insert(indices.load(&mut *store, instance)?)
                            }
                        }
                    };
                }
                let number = store.data().number(0);
                macro_rules! handle {
                    () => {
                        Resource::$lend(number)
                    };
                }
                let verdict = match hook {
                    Hook::Select => {
                        let guest = guest!(select);
                        guest.call_select(store, handle!(), handle!()).await?
                    }
                    Hook::BeforeAdd => {
                        let guest = guest!(before_add);
                        guest.call_before_add(store, handle!(), handle!()).await?
                    }
                    Hook::AfterAdd => {
                        let guest = guest!(after_add);
                        guest
                            .call_after_add(store, handle!(), handle!(), handle!())
                            .await?
                    }
                    Hook::Finalize => {
                        let guest = guest!(finalize);
                        guest
                            .call_finalize(store, handle!(), handle!(), handle!())
                            .await?
                    }
                    Hook::Check => {
                        let guest = guest!(check);
                        let checked = guest
                            .call_check(store, handle!(), handle!(), handle!())
                            .await?;
                        checked.map_or_else(Verdict::Deny, |()| Verdict::Accept)
                    }
                    Hook::Status => match guest!(status).call_status(store).await? {
                        Ok(()) => Verdict::Accept,
                        Err(message) => Verdict::Deny(Denial {
                            code: 0,
                            message,
                            details: None,
                        }),
                    },
                    Hook::Del => {
                        let guest = guest!(del);
                        let findings = guest.call_del(store, handle!(), handle!()).await?;
                        return Ok(Answer::Findings(findings));
                    }
                    Hook::Gc => {
                        let valid = match &store.data().stage {
                            Stage::Gc { valid } => Arc::clone(valid),
                            _ => Arc::default(),
                        };
                        let findings = guest!(gc).call_gc(store, &valid).await?;
                        return Ok(Answer::Findings(findings));
                    }
                    Hook::Configure => Verdict::Accept,
                };
                Ok(match verdict {
                    Verdict::Accept => Answer::Accept,
                    Verdict::Deny(denial) => Answer::Deny(denial),
                })
            }
        }
    };
}

/// Handles are lent: the guest must drop them before it returns.
pub(super) mod v0_1 {
    calls!(
        crate::wasm::bindings::v0_1::exports::cnidaria::policy,
        new_borrow
    );
}

/// Handles are given away: the guest drops them at any time, or with its store.
pub(super) mod v0_2 {
    calls!(
        crate::wasm::bindings::v0_2::exports::cnidaria::policy,
        new_own
    );
}
