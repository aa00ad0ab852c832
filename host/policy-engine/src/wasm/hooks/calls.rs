//! The hooks of one version of the package: where a module exports them and how to call them. The
//! versions differ in their bindings, in handle ownership, and in the hooks that they have.

/// Defines `Calls` for the exports of one version's bindings: `$lend` makes a resource handle,
/// `verdict` and `findings` list the hooks that get as many handles as there are names in brackets,
/// `failed` the hook for a failed ADD.
macro_rules! calls {
    (
        exports: $exports:path,
        types: $types:path,
        lend: $lend:ident,
        verdict: { $($field:ident $hook:ident $call:ident [$($handle:ident)*];)* },
        findings: { $($told:ident $told_hook:ident $told_call:ident [$($told_handle:ident)*];)* },
        $(failed: $failed:ident $failed_call:ident,)?
    ) => {
        use std::sync::Arc;

        use wasmtime::Store;
        use wasmtime::component::{Instance, InstancePre, Resource};

        use crate::model::report::Hook;
        use crate::wasm::hooks::{Answer, Error};
        use crate::wasm::stage::Stage;
        use crate::wasm::store::GuestState;
        use $exports as exports;
        use $types as types;

        /// Indexes of each hook's exports in the instances of one module.
        #[derive(Clone, Default)]
        pub(crate) struct Calls {
            configure: Option<exports::configure::GuestIndices>,
            $($field: Option<exports::$field::GuestIndices>,)*
            $($told: Option<exports::$told::GuestIndices>,)*
            $($failed: Option<exports::$failed::GuestIndices>,)?
            check: Option<exports::check::GuestIndices>,
            status: Option<exports::status::GuestIndices>,
            gc: Option<exports::gc::GuestIndices>,
        }

        /// The hooks of one instance that were looked up so far.
        #[derive(Default)]
        pub(crate) struct Loaded {
            configure: Option<exports::configure::Guest>,
            $($field: Option<exports::$field::Guest>,)*
            $($told: Option<exports::$told::Guest>,)*
            $($failed: Option<exports::$failed::Guest>,)?
            check: Option<exports::check::Guest>,
            status: Option<exports::status::Guest>,
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
                    ($name:ident) => {
                        self.$name = Some(exports::$name::GuestIndices::new(pre)?)
                    };
                }
                match hook {
                    Hook::Configure => find!(configure),
                    $(Hook::$hook => find!($field),)*
                    $(Hook::$told_hook => find!($told),)*
                    $(Hook::AddFailed => find!($failed),)?
                    Hook::Check => find!(check),
                    Hook::Status => find!(status),
                    Hook::Gc => find!(gc),
                    #[allow(unreachable_patterns, reason = "the newest version has all hooks")]
                    _ => return Err(lacking()),
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
                    ($name:ident $of:expr) => {
                        if let Some(indices) = &self.$name {
                            let guest = indices.load(&mut *store, instance);
                            loaded.$name = Some(guest.map_err(|source| Error::Malformed {
                                hook: $of,
                                source,
                            })?);
                        }
                    };
                }
                load!(configure Hook::Configure);
                $(load!($field Hook::$hook);)*
                $(load!($told Hook::$told_hook);)*
                $(load!($failed Hook::AddFailed);)?
                load!(check Hook::Check);
                load!(status Hook::Status);
                load!(gc Hook::Gc);
                Ok(loaded)
            }

            /// Whether the module has the hook.
            pub(crate) fn has(&self, hook: Hook) -> bool {
                match hook {
                    Hook::Configure => self.configure.is_some(),
                    $(Hook::$hook => self.$field.is_some(),)*
                    $(Hook::$told_hook => self.$told.is_some(),)*
                    $(Hook::AddFailed => self.$failed.is_some(),)?
                    Hook::Check => self.check.is_some(),
                    Hook::Status => self.status.is_some(),
                    Hook::Gc => self.gc.is_some(),
                    #[allow(unreachable_patterns, reason = "the newest version has all hooks")]
                    _ => false,
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
                    ($name:ident) => {
                        match &mut loaded.$name {
                            Some(guest) => guest,
                            none => {
                                let indices = self.$name.as_ref().ok_or_else(lacking)?;
                                none.insert(indices.load(&mut *store, instance)?)
                            }
                        }
                    };
                }
                let number = store.data().number(0);
                macro_rules! handle {
                    ($name:ident) => {
                        Resource::$lend(number)
                    };
                }
                match hook {
                    $(Hook::$hook => {
                        let guest = guest!($field);
                        let verdict = guest.$call(store, $(handle!($handle)),*).await?;
                        Ok(match verdict {
                            types::Verdict::Accept => Answer::Accept,
                            types::Verdict::Deny(denial) => Answer::Deny(denial.into()),
                        })
                    })*
                    $(Hook::$told_hook => {
                        let guest = guest!($told);
                        let findings = guest.$told_call(store, $(handle!($told_handle)),*).await?;
                        Ok(Answer::findings(findings))
                    })*
                    $(Hook::AddFailed => {
                        let why = match &store.data().stage {
                            Stage::AddFailed { why, .. } => Arc::clone(why),
                            _ => Arc::default(),
                        };
                        let (policy, hook) = why.denied_by.clone().unzip();
                        let why = types::Failure {
                            code: why.code,
                            message: why.message.clone(),
                            policy,
                            hook,
                        };
                        let guest = guest!($failed);
                        let findings = guest
                            .$failed_call(store, handle!(request), handle!(plan), &why)
                            .await?;
                        Ok(Answer::findings(findings))
                    })?
                    Hook::Check => {
                        let guest = guest!(check);
                        let checked = guest
                            .call_check(
                                store,
                                handle!(request),
                                handle!(attachment),
                                handle!(outcome),
                            )
                            .await?;
                        Ok(checked.map_or_else(
                            |denial| Answer::Deny(denial.into()),
                            |()| Answer::Accept,
                        ))
                    }
                    Hook::Status => Ok(match guest!(status).call_status(store).await? {
                        Ok(()) => Answer::Accept,
                        Err(message) => Answer::not_ready(message),
                    }),
                    Hook::Gc => {
                        let valid = match &store.data().stage {
                            Stage::Gc { valid } => Arc::clone(valid),
                            _ => Arc::default(),
                        };
                        let valid: Vec<_> = valid
                            .iter()
                            .map(|(container_id, if_name)| types::ValidAttachment {
                                container_id: container_id.clone(),
                                if_name: if_name.clone(),
                            })
                            .collect();
                        let findings = guest!(gc).call_gc(store, &valid).await?;
                        Ok(Answer::findings(findings))
                    }
                    Hook::Configure => Ok(Answer::Accept),
                    #[allow(unreachable_patterns, reason = "the newest version has all hooks")]
                    _ => Err(lacking()),
                }
            }
        }

        fn lacking() -> wasmtime::Error {
            wasmtime::Error::msg("the module lacks the hook")
        }
    };
}

/// Handles are lent: the guest must drop them before it returns.
pub(super) mod v0_1 {
    calls!(
        exports: crate::wasm::bindings::v0_1::exports::cnidaria::policy,
        types: crate::wasm::bindings::v0_2::cnidaria::policy::types,
        lend: new_borrow,
        verdict: {
            select Select call_select [request selections];
            before_add BeforeAdd call_before_add [request attachment];
            after_add AfterAdd call_after_add [request attachment outcome];
            finalize Finalize call_finalize [request plan outcome];
        },
        findings: {
            del Del call_del [request attachment];
        },
    );
}

/// Handles are given away: the guest drops them at any time, or with its store.
pub(super) mod v0_2 {
    calls!(
        exports: crate::wasm::bindings::v0_2::exports::cnidaria::policy,
        types: crate::wasm::bindings::v0_2::cnidaria::policy::types,
        lend: new_own,
        verdict: {
            select Select call_select [request selections];
            before_add BeforeAdd call_before_add [request attachment];
            after_add AfterAdd call_after_add [request attachment outcome];
            finalize Finalize call_finalize [request plan outcome];
        },
        findings: {
            del Del call_del [request attachment];
        },
    );
}

/// Adds validating hooks and one for a failed ADD; before-add sees the plan, del the stored result.
pub(super) mod v0_3 {
    calls!(
        exports: crate::wasm::bindings::v0_3::exports::cnidaria::policy,
        types: crate::wasm::bindings::v0_3::cnidaria::policy::types,
        lend: new_own,
        verdict: {
            select Select call_select [request selections];
            validate_selections ValidateSelections call_validate_selections [request selections];
            before_add BeforeAdd call_before_add [request attachment plan];
            validate_plan ValidatePlan call_validate_plan [request plan];
            after_add AfterAdd call_after_add [request attachment outcome];
            finalize Finalize call_finalize [request plan outcome];
            validate_result ValidateResult call_validate_result [request plan outcome];
        },
        findings: {
            del Del call_del [request attachment outcome];
        },
        failed: add_failed call_add_failed,
    );
}
