//! Turns a policy into a component: the macro, and the glue code it expands to.

use crate::bindings::types::Verdict as WireVerdict;
use crate::hooks::Verdict;
use crate::{Policy, log};

/// Exports the hooks of a policy, each by its method's name. Use once per crate.
///
/// `configure` is always exported, so that the host validates settings when it loads the module.
///
/// ```ignore
/// cnidaria_guest::export!(AddressGuard: select, before_add);
/// ```
#[macro_export]
macro_rules! export {
    ($policy:ty: $($hook:ident),+ $(,)?) => {
        $($crate::__hook!(check $hook $policy);)+
        #[cfg(target_family = "wasm")]
        const _: () = {
            ::std::thread_local! {
                static POLICY: $crate::export::Instance<$policy> =
                    const { $crate::export::Instance::new() };
            }
            struct Guest;
            /// Called once per instance, before any hook and possibly before any request.
            #[unsafe(export_name = "_initialize")]
            extern "C" fn initialize() {
                POLICY.with($crate::export::Instance::prepare);
            }
            $crate::__hook!(configure $policy);
            $($crate::__hook!(export $hook $policy);)+
        };
    };
}

/// Creates a policy from its settings.
///
/// # Errors
/// A malformed member, or the error of [`Policy::new`].
pub fn configure<P: Policy>(settings: &str) -> Result<P, String> {
    P::new(serde_json::from_str(settings).map_err(|error| format!("settings: {error}"))?)
}

/// The policy of a component instance.
pub struct Instance<P>(std::cell::OnceCell<P>);

impl<P: Policy> Instance<P> {
    /// An empty instance.
    #[expect(clippy::new_without_default, reason = "const, for a static")]
    pub const fn new() -> Self {
        Self(std::cell::OnceCell::new())
    }

    /// Creates the policy from the host's settings, unless they are rejected. The host creates
    /// instances while idle, so this takes none of a request's time.
    pub fn prepare(&self) {
        // Sends the panic message to the host's log; the subsequent trap carries none.
        std::panic::set_hook(Box::new(|panic| {
            log::log(log::Level::Error, &panic.to_string());
        }));
        if let Ok(policy) = configure(&crate::bindings::settings::get()) {
            // Cannot fail: this is the first call of the instance.
            let _ = self.0.set(policy);
        }
    }

    /// Checks that the settings make a policy.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn configure(&self, settings: &str) -> Result<(), String> {
        match self.0.get() {
            Some(_) => Ok(()),
            None => configure::<P>(settings).map(drop),
        }
    }

    /// Returns the policy.
    ///
    /// # Panics
    /// Without a policy: its settings were rejected, which `configure` reported to the operator,
    /// or a tool built a component that does not call `_initialize`.
    pub fn get(&self) -> &P {
        #[expect(
            clippy::expect_used,
            reason = "the host calls no hook of a refused policy"
        )]
        self.0
            .get()
            .expect("no policy: settings that are refused, or _initialize was not called")
    }
}

/// Converts a verdict for the host.
pub fn verdict(verdict: Verdict) -> WireVerdict {
    match verdict {
        Ok(()) => WireVerdict::Accept,
        Err(denial) => WireVerdict::Deny(denial),
    }
}

/// One hook of [`export!`]. In native builds, only checks that the policy implements it.
#[doc(hidden)]
#[macro_export]
macro_rules! __hook {
    (check select $policy:ty) => { $crate::__hook!(implements Select $policy); };
    (check before_add $policy:ty) => { $crate::__hook!(implements BeforeAdd $policy); };
    (check after_add $policy:ty) => { $crate::__hook!(implements AfterAdd $policy); };
    (check finalize $policy:ty) => { $crate::__hook!(implements Finalize $policy); };
    (check check $policy:ty) => { $crate::__hook!(implements Check $policy); };
    (check status $policy:ty) => { $crate::__hook!(implements Status $policy); };
    (check del $policy:ty) => { $crate::__hook!(implements Del $policy); };
    (check gc $policy:ty) => { $crate::__hook!(implements Gc $policy); };
    (implements $hook:ident $policy:ty) => {
        const _: fn() = || {
            fn implements<P: $crate::hooks::$hook>() {}
            implements::<$policy>();
        };
    };
    (configure $policy:ty) => {
        impl $crate::bindings::hooks::configure::exports::cnidaria::policy::configure::Guest for Guest {
            fn configure(settings: ::std::string::String) -> ::std::result::Result<(), ::std::string::String> {
                POLICY.with(|policy| policy.configure(&settings))
            }
        }
        $crate::bindings::hooks::configure::export!(Guest with_types_in $crate::bindings::hooks::configure);
    };
    (export select $policy:ty) => {
        impl $crate::bindings::hooks::select::exports::cnidaria::policy::select::Guest for Guest {
            fn select(
                request: $crate::Request,
                networks: $crate::Selections,
            ) -> $crate::bindings::types::Verdict {
                POLICY.with(|policy| {
                    $crate::export::verdict($crate::hooks::Select::select(policy.get(), &request, &networks))
                })
            }
        }
        $crate::bindings::hooks::select::export!(Guest with_types_in $crate::bindings::hooks::select);
    };
    (export before_add $policy:ty) => {
        impl $crate::bindings::hooks::before_add::exports::cnidaria::policy::before_add::Guest for Guest {
            fn before_add(
                request: $crate::Request,
                attachment: $crate::Attachment,
            ) -> $crate::bindings::types::Verdict {
                POLICY.with(|policy| {
                    $crate::export::verdict($crate::hooks::BeforeAdd::before_add(policy.get(), &request, &attachment))
                })
            }
        }
        $crate::bindings::hooks::before_add::export!(Guest with_types_in $crate::bindings::hooks::before_add);
    };
    (export after_add $policy:ty) => {
        impl $crate::bindings::hooks::after_add::exports::cnidaria::policy::after_add::Guest for Guest {
            fn after_add(
                request: $crate::Request,
                attachment: $crate::Attachment,
                outcome: $crate::Outcome,
            ) -> $crate::bindings::types::Verdict {
                POLICY.with(|policy| {
                    $crate::export::verdict($crate::hooks::AfterAdd::after_add(
                        policy.get(), &request, &attachment, &outcome,
                    ))
                })
            }
        }
        $crate::bindings::hooks::after_add::export!(Guest with_types_in $crate::bindings::hooks::after_add);
    };
    (export finalize $policy:ty) => {
        impl $crate::bindings::hooks::finalize::exports::cnidaria::policy::finalize::Guest for Guest {
            fn finalize(
                request: $crate::Request,
                plan: $crate::Plan,
                outcome: $crate::Outcome,
            ) -> $crate::bindings::types::Verdict {
                POLICY.with(|policy| {
                    $crate::export::verdict($crate::hooks::Finalize::finalize(policy.get(), &request, &plan, &outcome))
                })
            }
        }
        $crate::bindings::hooks::finalize::export!(Guest with_types_in $crate::bindings::hooks::finalize);
    };
    (export check $policy:ty) => {
        impl $crate::bindings::hooks::check::exports::cnidaria::policy::check::Guest for Guest {
            fn check(
                request: $crate::Request,
                attachment: $crate::Attachment,
                stored: $crate::Outcome,
            ) -> $crate::hooks::Verdict {
                POLICY.with(|policy| $crate::hooks::Check::check(policy.get(), &request, &attachment, &stored))
            }
        }
        $crate::bindings::hooks::check::export!(Guest with_types_in $crate::bindings::hooks::check);
    };
    (export status $policy:ty) => {
        impl $crate::bindings::hooks::status::exports::cnidaria::policy::status::Guest for Guest {
            fn status() -> ::std::result::Result<(), ::std::string::String> {
                POLICY.with(|policy| $crate::hooks::Status::status(policy.get()))
            }
        }
        $crate::bindings::hooks::status::export!(Guest with_types_in $crate::bindings::hooks::status);
    };
    (export del $policy:ty) => {
        impl $crate::bindings::hooks::del::exports::cnidaria::policy::del::Guest for Guest {
            fn del(
                request: $crate::Request,
                attachment: $crate::Attachment,
            ) -> ::std::vec::Vec<$crate::Finding> {
                POLICY.with(|policy| $crate::hooks::Del::del(policy.get(), &request, &attachment))
            }
        }
        $crate::bindings::hooks::del::export!(Guest with_types_in $crate::bindings::hooks::del);
    };
    (export gc $policy:ty) => {
        impl $crate::bindings::hooks::gc::exports::cnidaria::policy::gc::Guest for Guest {
            fn gc(valid: ::std::vec::Vec<$crate::ValidAttachment>) -> ::std::vec::Vec<$crate::Finding> {
                POLICY.with(|policy| $crate::hooks::Gc::gc(policy.get(), &valid))
            }
        }
        $crate::bindings::hooks::gc::export!(Guest with_types_in $crate::bindings::hooks::gc);
    };
}

/// Logs a line in the daemon's log at level debug; arguments as for `format!`.
#[macro_export]
macro_rules! debug {
    ($($argument:tt)*) => { $crate::log::log($crate::log::Level::Debug, &::std::format!($($argument)*)) };
}

/// Logs a line in the daemon's log at level info; arguments as for `format!`.
#[macro_export]
macro_rules! info {
    ($($argument:tt)*) => { $crate::log::log($crate::log::Level::Info, &::std::format!($($argument)*)) };
}

/// Logs a line in the daemon's log at level warn; arguments as for `format!`.
#[macro_export]
macro_rules! warn {
    ($($argument:tt)*) => { $crate::log::log($crate::log::Level::Warn, &::std::format!($($argument)*)) };
}

/// Logs a line in the daemon's log at level error; arguments as for `format!`.
#[macro_export]
macro_rules! error {
    ($($argument:tt)*) => { $crate::log::log($crate::log::Level::Error, &::std::format!($($argument)*)) };
}
