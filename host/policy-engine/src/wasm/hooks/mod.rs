//! Which hooks a module has, in which version of the package, and how to call them.

mod calls;

use wasmtime::component::{Component, Instance, InstancePre};
use wasmtime::{Engine, Store};

use crate::model::report::Hook;
use crate::wasm::bindings::cnidaria::policy::types::{Denial, Finding};
use crate::wasm::store::GuestState;
use crate::wasm::version::{Interface, Version, served};

/// The hooks of one module, by package version.
#[derive(Clone)]
pub(crate) enum Hooks {
    V0_1(calls::v0_1::Calls),
    V0_2(calls::v0_2::Calls),
    V0_3(calls::v0_3::Calls),
}

/// The hooks of one instance that were looked up so far, by package version.
pub(crate) enum Loaded {
    V0_1(calls::v0_1::Loaded),
    V0_2(calls::v0_2::Loaded),
    V0_3(calls::v0_3::Loaded),
}

/// A hook's answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Let the request go on.
    Accept,
    /// Deny the request.
    Deny(Denial),
    /// The only answer of the hooks that cannot deny.
    Findings(Vec<Finding>),
}

impl Answer {
    /// The answer of a hook that cannot deny.
    fn findings(findings: Vec<impl Into<Finding>>) -> Self {
        Self::Findings(findings.into_iter().map(Into::into).collect())
    }

    /// The answer of a status hook that reports an error.
    fn not_ready(message: String) -> Self {
        Self::Deny(Denial {
            code: 0,
            message,
            details: None,
        })
    }
}

/// Why a module's exports are rejected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An interface of the package that this host does not have.
    #[error(
        "exports {export}, which is not a hook of any version that this host serves: {}",
        served()
    )]
    Unknown {
        /// The interface, with package and version.
        export: String,
    },
    /// Hooks of two versions, which leaves open which of them to call.
    #[error("exports hooks of {} and of {}: a module targets one version", .0, .1)]
    Mixed(Version, Version),
    /// An interface without its function, or with a function of the wrong type.
    #[error("exports the hook {hook}, but not as the package defines it")]
    Malformed {
        hook: Hook,
        /// What wasmtime reports as missing or different.
        source: wasmtime::Error,
    },
    /// No interface of the package.
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
            Version::V0_3 => Self::V0_3(calls::v0_3::Calls::find(&hooks, pre)?),
        })
    }

    /// Looks up all hooks in one instance and checks their types, before a request needs them.
    pub(crate) fn load(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> Result<Loaded, Error> {
        Ok(match self {
            Self::V0_1(calls) => Loaded::V0_1(calls.load(store, instance)?),
            Self::V0_2(calls) => Loaded::V0_2(calls.load(store, instance)?),
            Self::V0_3(calls) => Loaded::V0_3(calls.load(store, instance)?),
        })
    }

    /// No hooks looked up yet.
    pub(crate) fn unloaded(&self) -> Loaded {
        match self {
            Self::V0_1(_) => Loaded::V0_1(Default::default()),
            Self::V0_2(_) => Loaded::V0_2(Default::default()),
            Self::V0_3(_) => Loaded::V0_3(Default::default()),
        }
    }

    /// Offers the settings, if the module has the hook. The inner error is the policy's.
    pub(crate) async fn configure(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
        settings: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        match self {
            Self::V0_1(calls) => calls.configure(store, instance, settings).await,
            Self::V0_2(calls) => calls.configure(store, instance, settings).await,
            Self::V0_3(calls) => calls.configure(store, instance, settings).await,
        }
    }

    /// Calls any other hook on the stage in the store. `loaded` must belong to the same instance.
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
            (Self::V0_3(calls), Loaded::V0_3(loaded)) => {
                calls.call(hook, store, instance, loaded).await
            }
            _ => Err(wasmtime::Error::msg("hooks of two versions")),
        }
    }

    /// Whether the module has the hook.
    pub(crate) fn has(&self, hook: Hook) -> bool {
        match self {
            Self::V0_1(calls) => calls.has(hook),
            Self::V0_2(calls) => calls.has(hook),
            Self::V0_3(calls) => calls.has(hook),
        }
    }

    /// Whether its before-add hook sees the whole plan.
    pub(crate) fn sees_plan(&self) -> bool {
        matches!(self, Self::V0_3(_)) && self.has(Hook::BeforeAdd)
    }

    /// The module's hooks, in the order of a pod's life.
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

/// The hooks that a component exports, and their version; `None` if there are none.
///
/// # Errors
/// [`Error::Unknown`] for an interface or version of the package that this host lacks;
/// [`Error::Mixed`] for hooks of two versions.
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
        let served = hook.zip(version);
        let Some((hook, version)) = served.filter(|(hook, version)| version.has(*hook)) else {
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
    hooks.sort_unstable();
    Ok(target.map(|version| (version, hooks)))
}

/// The names of the interfaces that a component imports.
pub(crate) fn imported(engine: &Engine, component: &Component) -> Vec<String> {
    component
        .component_type()
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .collect()
}
