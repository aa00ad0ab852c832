//! Turns a policy into a component: the macro, and the glue code it expands to.

use crate::bindings::types::Verdict as WireVerdict;
use crate::hooks::Verdict;
use crate::{Policy, log};

/// Exports the hooks of a policy, each by its method's name. Use once per crate.
///
/// `configure` is always exported, so that the host validates settings when it loads the module.
/// A hook that the policy implements and the list lacks does not compile, because it would never run.
///
/// ```
/// # use cnidaria_guest::prelude::*;
/// # struct Guard;
/// # impl Policy for Guard {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings) -> Result<Self, String> { Ok(Self) }
/// # }
/// # impl Status for Guard {
/// #     fn status(&self) -> Result<(), String> { Ok(()) }
/// # }
/// # impl Gc for Guard {
/// #     fn gc(&self, _: &[cnidaria_guest::ValidAttachment]) -> Vec<Finding> { Vec::new() }
/// # }
/// cnidaria_guest::export!(Guard: status, gc);
/// # fn main() {}
/// ```
///
/// Without `gc`, which the policy implements:
///
/// ```compile_fail
/// # use cnidaria_guest::prelude::*;
/// # struct Guard;
/// # impl Policy for Guard {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings) -> Result<Self, String> { Ok(Self) }
/// # }
/// # impl Status for Guard {
/// #     fn status(&self) -> Result<(), String> { Ok(()) }
/// # }
/// # impl Gc for Guard {
/// #     fn gc(&self, _: &[cnidaria_guest::ValidAttachment]) -> Vec<Finding> { Vec::new() }
/// # }
/// cnidaria_guest::export!(Guard: status);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    ($policy:ty: $($hook:ident),+ $(,)?) => {
        $($crate::__hook!(check $hook $policy);)+
        $crate::__all_listed!($policy: $($hook)+);
        #[cfg(not(target_family = "wasm"))]
        impl $crate::testing::Exported for $policy {
            const HOOKS: $crate::testing::Hooks<Self> = {
                let mut hooks = $crate::testing::Hooks::NONE;
                $(hooks.$hook = ::std::option::Option::Some($crate::__hook!(method $hook $policy));)+
                hooks
            };
        }
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
/// A malformed member with its path, or the error of [`Policy::new`].
pub fn configure<P: Policy>(settings: &str) -> Result<P, String> {
    let mut json = serde_json::Deserializer::from_str(settings);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => format!("settings: {}", error.inner()),
            path => format!("settings.{path}: {}", error.inner()),
        }
    })?;
    json.end().map_err(|error| format!("settings: {error}"))?;
    P::new(parsed)
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

/// Whether a list of hooks has this one.
pub const fn lists(listed: &[&str], name: &str) -> bool {
    let mut rest = listed;
    while let [first, others @ ..] = rest {
        if same(first.as_bytes(), name.as_bytes()) {
            return true;
        }
        rest = others;
    }
    false
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    match (one, other) {
        ([], []) => true,
        ([a, one @ ..], [b, other @ ..]) => *a == *b && same(one, other),
        _ => false,
    }
}

/// One hook of [`export!`]. In native builds, only checks that the policy implements it.
#[doc(hidden)]
#[macro_export]
macro_rules! __hook {
    (check select $policy:ty) => { $crate::__hook!(implements Select $policy); };
    (check validate_selections $policy:ty) => { $crate::__hook!(implements ValidateSelections $policy); };
    (check before_add $policy:ty) => { $crate::__hook!(implements BeforeAdd $policy); };
    (check validate_plan $policy:ty) => { $crate::__hook!(implements ValidatePlan $policy); };
    (check after_add $policy:ty) => { $crate::__hook!(implements AfterAdd $policy); };
    (check finalize $policy:ty) => { $crate::__hook!(implements Finalize $policy); };
    (check validate_result $policy:ty) => { $crate::__hook!(implements ValidateResult $policy); };
    (check add_failed $policy:ty) => { $crate::__hook!(implements AddFailed $policy); };
    (check check $policy:ty) => { $crate::__hook!(implements Check $policy); };
    (check status $policy:ty) => { $crate::__hook!(implements Status $policy); };
    (check del $policy:ty) => { $crate::__hook!(implements Del $policy); };
    (check gc $policy:ty) => { $crate::__hook!(implements Gc $policy); };
    (check $other:ident $policy:ty) => {
        ::std::compile_error!(::std::concat!(
            "unknown hook ",
            ::std::stringify!($other),
            "; the hooks are select, validate_selections, before_add, validate_plan, after_add, \
             finalize, validate_result, add_failed, check, status, del, gc"
        ));
    };
    (implements $hook:ident $policy:ty) => {
        const _: fn() = || {
            fn implements<P: $crate::hooks::$hook>() {}
            implements::<$policy>();
        };
    };
    (method select $policy:ty) => { <$policy as $crate::hooks::Select>::select };
    (method validate_selections $policy:ty) => { <$policy as $crate::hooks::ValidateSelections>::validate_selections };
    (method before_add $policy:ty) => { <$policy as $crate::hooks::BeforeAdd>::before_add };
    (method validate_plan $policy:ty) => { <$policy as $crate::hooks::ValidatePlan>::validate_plan };
    (method after_add $policy:ty) => { <$policy as $crate::hooks::AfterAdd>::after_add };
    (method finalize $policy:ty) => { <$policy as $crate::hooks::Finalize>::finalize };
    (method validate_result $policy:ty) => { <$policy as $crate::hooks::ValidateResult>::validate_result };
    (method add_failed $policy:ty) => { <$policy as $crate::hooks::AddFailed>::add_failed };
    (method check $policy:ty) => { <$policy as $crate::hooks::Check>::check };
    (method status $policy:ty) => { <$policy as $crate::hooks::Status>::status };
    (method del $policy:ty) => { <$policy as $crate::hooks::Del>::del };
    (method gc $policy:ty) => { <$policy as $crate::hooks::Gc>::gc };
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
                POLICY.with(|policy| $crate::export::verdict($crate::hooks::Select::select(policy.get(), &request, &networks)))
            }
        }
        $crate::bindings::hooks::select::export!(Guest with_types_in $crate::bindings::hooks::select);
    };
    (export validate_selections $policy:ty) => {
        impl $crate::bindings::hooks::validate_selections::exports::cnidaria::policy::validate_selections::Guest for Guest {
            fn validate_selections(
                request: $crate::Request,
                networks: $crate::Selections,
            ) -> $crate::bindings::types::Verdict {
                POLICY.with(|policy| $crate::export::verdict($crate::hooks::ValidateSelections::validate_selections(policy.get(), &request, &networks)))
            }
        }
        $crate::bindings::hooks::validate_selections::export!(Guest with_types_in $crate::bindings::hooks::validate_selections);
    };
    (export before_add $policy:ty) => {
        impl $crate::bindings::hooks::before_add::exports::cnidaria::policy::before_add::Guest for Guest {
            fn before_add(
                request: $crate::Request,
                attachment: $crate::Attachment,
                plan: $crate::Plan,
            ) -> $crate::bindings::types::Verdict {
                POLICY.with(|policy| $crate::export::verdict($crate::hooks::BeforeAdd::before_add(policy.get(), &request, &attachment, &plan)))
            }
        }
        $crate::bindings::hooks::before_add::export!(Guest with_types_in $crate::bindings::hooks::before_add);
    };
    (export validate_plan $policy:ty) => {
        impl $crate::bindings::hooks::validate_plan::exports::cnidaria::policy::validate_plan::Guest for Guest {
            fn validate_plan(
                request: $crate::Request,
                plan: $crate::Plan,
            ) -> $crate::bindings::types::Verdict {
                POLICY.with(|policy| $crate::export::verdict($crate::hooks::ValidatePlan::validate_plan(policy.get(), &request, &plan)))
            }
        }
        $crate::bindings::hooks::validate_plan::export!(Guest with_types_in $crate::bindings::hooks::validate_plan);
    };
    (export after_add $policy:ty) => {
        impl $crate::bindings::hooks::after_add::exports::cnidaria::policy::after_add::Guest for Guest {
            fn after_add(
                request: $crate::Request,
                attachment: $crate::Attachment,
                outcome: $crate::Outcome,
            ) -> $crate::bindings::types::Verdict {
                POLICY.with(|policy| $crate::export::verdict($crate::hooks::AfterAdd::after_add(policy.get(), &request, &attachment, &outcome)))
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
                POLICY.with(|policy| $crate::export::verdict($crate::hooks::Finalize::finalize(policy.get(), &request, &plan, &outcome)))
            }
        }
        $crate::bindings::hooks::finalize::export!(Guest with_types_in $crate::bindings::hooks::finalize);
    };
    (export validate_result $policy:ty) => {
        impl $crate::bindings::hooks::validate_result::exports::cnidaria::policy::validate_result::Guest for Guest {
            fn validate_result(
                request: $crate::Request,
                plan: $crate::Plan,
                outcome: $crate::Outcome,
            ) -> $crate::bindings::types::Verdict {
                POLICY.with(|policy| $crate::export::verdict($crate::hooks::ValidateResult::validate_result(policy.get(), &request, &plan, &outcome)))
            }
        }
        $crate::bindings::hooks::validate_result::export!(Guest with_types_in $crate::bindings::hooks::validate_result);
    };
    (export add_failed $policy:ty) => {
        impl $crate::bindings::hooks::add_failed::exports::cnidaria::policy::add_failed::Guest for Guest {
            fn add_failed(
                request: $crate::Request,
                plan: $crate::Plan,
                failure: $crate::Failure,
            ) -> ::std::vec::Vec<$crate::Finding> {
                POLICY.with(|policy| $crate::hooks::AddFailed::add_failed(policy.get(), &request, &plan, &failure))
            }
        }
        $crate::bindings::hooks::add_failed::export!(Guest with_types_in $crate::bindings::hooks::add_failed);
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
                stored: $crate::Outcome,
            ) -> ::std::vec::Vec<$crate::Finding> {
                POLICY.with(|policy| $crate::hooks::Del::del(policy.get(), &request, &attachment, &stored))
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

/// Refuses to compile if the policy implements a hook that is not listed.
#[doc(hidden)]
#[macro_export]
macro_rules! __all_listed {
    ($policy:ty: $($hook:ident)+) => {
        const _: () = {
            const LISTED: &[&str] = &[$(::std::stringify!($hook)),+];
            $crate::__listed!(Select select $policy);
            $crate::__listed!(ValidateSelections validate_selections $policy);
            $crate::__listed!(BeforeAdd before_add $policy);
            $crate::__listed!(ValidatePlan validate_plan $policy);
            $crate::__listed!(AfterAdd after_add $policy);
            $crate::__listed!(Finalize finalize $policy);
            $crate::__listed!(ValidateResult validate_result $policy);
            $crate::__listed!(AddFailed add_failed $policy);
            $crate::__listed!(Check check $policy);
            $crate::__listed!(Status status $policy);
            $crate::__listed!(Del del $policy);
            $crate::__listed!(Gc gc $policy);
        };
    };
}

/// Refuses to compile if the policy implements this hook and `LISTED` lacks it.
#[doc(hidden)]
#[macro_export]
macro_rules! __listed {
    ($hook:ident $name:ident $policy:ty) => {
        const _: () = {
            // The inherent constant exists only if the policy implements the hook; it goes before the
            // trait's.
            struct Probe<P>(::std::marker::PhantomData<P>);
            trait Otherwise {
                const IMPLEMENTED: bool = false;
            }
            impl<P> Otherwise for Probe<P> {}
            #[allow(
                dead_code,
                reason = "unused where the policy does not implement the hook"
            )]
            impl<P: $crate::hooks::$hook> Probe<P> {
                const IMPLEMENTED: bool = true;
            }
            ::std::assert!(
                !<Probe<$policy>>::IMPLEMENTED
                    || $crate::export::lists(LISTED, ::std::stringify!($name)),
                ::std::concat!(
                    "the policy implements ",
                    ::std::stringify!($hook),
                    ", and export! does not list ",
                    ::std::stringify!($name),
                    ": the hook would never run"
                )
            );
        };
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

/// Like the standard library's, and reaches the daemon's log on targets without WASI, where that of the
/// standard library goes nowhere. To use it instead, import it by name:
///
/// ```
/// use cnidaria_guest::prelude::*;
/// use cnidaria_guest::println;
///
/// println!("a line of the log");
/// ```
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::__print!(Info println $($argument)*) };
}

/// Like the standard library's, and reaches the daemon's log on targets without WASI: see [`println!`].
#[macro_export]
macro_rules! eprintln {
    ($($argument:tt)*) => { $crate::__print!(Warn eprintln $($argument)*) };
}

/// Prints, or logs on targets where printing goes nowhere.
#[doc(hidden)]
#[macro_export]
macro_rules! __print {
    ($level:ident $print:ident $($argument:tt)*) => {{
        #[cfg(all(target_family = "wasm", target_os = "unknown"))]
        $crate::log::log($crate::log::Level::$level, &::std::format!($($argument)*));
        #[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
        ::std::$print!($($argument)*);
    }};
}
