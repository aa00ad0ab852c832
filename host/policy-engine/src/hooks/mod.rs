//! Which hooks a module has, of which version of the package, and how each is called.

mod calls;

use wasmtime::component::{Component, Instance, InstancePre};
use wasmtime::{Engine, Store};

use crate::bindings::cnidaria::policy::types::{Denial, Finding};
use crate::report::Hook;
use crate::store::GuestState;
use crate::version::{Interface, Version, served};

/// Where to find each hook in an instance of one module.
#[derive(Clone)]
pub(crate) enum Hooks {
    /// It targets 0.1.
    V0_1(calls::v0_1::Calls),
    /// It targets 0.2.
    V0_2(calls::v0_2::Calls),
}

/// What a hook answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Go on.
    Accept,
    /// Refuse the request.
    Deny(Denial),
    /// Del and GC: only this.
    Findings(Vec<Finding>),
}

/// Why the exports of a module are refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An interface of the package that this host does not have.
    #[error(
        "exports {export}, which is no hook of a version that this host serves: {}",
        served()
    )]
    Unknown {
        /// The interface.
        export: String,
    },
    /// Hooks of two versions: it could not be told which of them to call.
    #[error("exports hooks of {} and of {}: a module targets one version", .0, .1)]
    Mixed(Version, Version),
    /// An interface without its function, or with a function of another type.
    #[error("exports the hook {hook}, but not as the package defines it")]
    Malformed {
        /// The hook.
        hook: Hook,
        /// What is missing.
        source: wasmtime::Error,
    },
    /// No interface of the package at all.
    #[error("exports no hook")]
    None,
}

impl Hooks {
    /// Reads the hooks from a module's exports.
    pub(crate) fn of(engine: &Engine, pre: &InstancePre<GuestState>) -> Result<Self, Error> {
        let Some((version, hooks)) = exported(engine, pre.component())? else {
            return Err(Error::None);
        };
        Ok(match version {
            Version::V0_1 => Self::V0_1(calls::v0_1::Calls::find(&hooks, pre)?),
            Version::V0_2 => Self::V0_2(calls::v0_2::Calls::find(&hooks, pre)?),
        })
    }

    /// Checks the types of all hooks on one instance, so that no request is the first to find out.
    pub(crate) fn check(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> Result<(), Error> {
        match self {
            Self::V0_1(calls) => calls.check(store, instance),
            Self::V0_2(calls) => calls.check(store, instance),
        }
    }

    /// Offers the settings, where the module has the hook. The inner error is the policy's.
    pub(crate) async fn configure(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        settings: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        match self {
            Self::V0_1(calls) => calls.configure(store, instance, settings).await,
            Self::V0_2(calls) => calls.configure(store, instance, settings).await,
        }
    }

    /// Calls any other hook over what is staged in the store.
    pub(crate) async fn call(
        &self,
        hook: Hook,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> wasmtime::Result<Answer> {
        match self {
            Self::V0_1(calls) => calls.call(hook, store, instance).await,
            Self::V0_2(calls) => calls.call(hook, store, instance).await,
        }
    }

    /// Whether the module has a hook.
    pub(crate) fn has(&self, hook: Hook) -> bool {
        match self {
            Self::V0_1(calls) => calls.has(hook),
            Self::V0_2(calls) => calls.has(hook),
        }
    }

    /// The hooks that the module has, in the order of a pod's life.
    pub(crate) fn list(&self) -> Vec<Hook> {
        Hook::ALL
            .into_iter()
            .filter(|hook| self.has(*hook))
            .collect()
    }
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.list()).finish()
    }
}

/// The hooks whose interfaces a component exports, and the version that they are of; `None` where
/// there are none.
///
/// # Errors
/// [`Error::Unknown`] for an interface of the package, or a version of it, that this host lacks;
/// [`Error::Mixed`].
pub(crate) fn exported(
    engine: &Engine,
    component: &Component,
) -> Result<Option<(Version, Vec<Hook>)>, Error> {
    let mut target = None;
    let mut hooks = Vec::new();
    for (export, _) in component.component_type().exports(engine) {
        let Some(Interface { name, version }) = Interface::parse(export) else {
            continue;
        };
        let hook = Hook::ALL.into_iter().find(|hook| hook.as_str() == name);
        let Some((hook, version)) = hook.zip(version) else {
            return Err(Error::Unknown {
                export: export.to_owned(),
            });
        };
        let other = target.replace(version).filter(|other| *other != version);
        if let Some(other) = other {
            return Err(Error::Mixed(other, version));
        }
        hooks.push(hook);
    }
    Ok(target.map(|version| (version, hooks)))
}

/// The interfaces that a component imports, by name.
pub(crate) fn imported(engine: &Engine, component: &Component) -> Vec<String> {
    component
        .component_type()
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .collect()
}
