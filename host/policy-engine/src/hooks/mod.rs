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

/// The hooks of one instance, as far as they were looked up.
pub(crate) enum Loaded {
    /// Of a module that targets 0.1.
    V0_1(calls::v0_1::Loaded),
    /// Of one that targets 0.2.
    V0_2(calls::v0_2::Loaded),
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

    /// Looks all hooks up in one instance, which checks their types as well: where it is done early, no
    /// request is the first to find out.
    pub(crate) fn load(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> Result<Loaded, Error> {
        Ok(match self {
            Self::V0_1(calls) => Loaded::V0_1(calls.load(store, instance)?),
            Self::V0_2(calls) => Loaded::V0_2(calls.load(store, instance)?),
        })
    }

    /// No hook looked up yet.
    pub(crate) fn unloaded(&self) -> Loaded {
        match self {
            Self::V0_1(_) => Loaded::V0_1(Default::default()),
            Self::V0_2(_) => Loaded::V0_2(Default::default()),
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

    /// Calls any other hook over what is staged in the store. `loaded` is of the same instance.
    pub(crate) async fn call(
        &self,
        hook: Hook,
        store: &mut Store<GuestState>,
        instance: &Instance,
        loaded: &mut Loaded,
    ) -> wasmtime::Result<Answer> {
        match (self, loaded) {
            (Self::V0_1(calls), Loaded::V0_1(loaded)) => {
                calls.call(hook, store, instance, loaded).await
            }
            (Self::V0_2(calls), Loaded::V0_2(loaded)) => {
                calls.call(hook, store, instance, loaded).await
            }
            _ => Err(wasmtime::Error::msg("hooks of two versions")),
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
