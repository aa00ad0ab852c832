//! Which hooks a module has, and how each is called.

use wasmtime::component::{Component, Instance, InstancePre};
use wasmtime::{Engine, Store};

use crate::bindings::exports::cnidaria::policy as exports;
use crate::report::Hook;
use crate::store::GuestState;

/// The package whose interfaces are hooks and imports.
pub(crate) const PACKAGE: &str = "cnidaria:policy/";
/// The version of it that this host has.
pub(crate) const VERSION: &str = "0.1.0";

/// Whether this host speaks a version of the package: the same minor version, and nothing newer.
/// Functions that a patch version adds are missing in older hosts; what was there stays.
pub(crate) fn speaks(version: &str) -> bool {
    match (minor_and_patch(version), minor_and_patch(VERSION)) {
        (Some((minor, patch)), Some((own_minor, own_patch))) => {
            minor == own_minor && patch <= own_patch
        }
        _ => false,
    }
}

fn minor_and_patch(version: &str) -> Option<(&str, u32)> {
    let (minor, patch) = version.rsplit_once('.')?;
    Some((minor, patch.parse().ok()?))
}

/// Where to find each hook in an instance of one module.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) configure: Option<exports::configure::GuestIndices>,
    pub(crate) select: Option<exports::select::GuestIndices>,
    pub(crate) before_add: Option<exports::before_add::GuestIndices>,
    pub(crate) after_add: Option<exports::after_add::GuestIndices>,
    pub(crate) finalize: Option<exports::finalize::GuestIndices>,
    pub(crate) check: Option<exports::check::GuestIndices>,
    pub(crate) status: Option<exports::status::GuestIndices>,
    pub(crate) del: Option<exports::del::GuestIndices>,
    pub(crate) gc: Option<exports::gc::GuestIndices>,
}

/// Why the exports of a module are refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An interface of the package that this host does not have.
    #[error("exports {export}, which is no hook of {PACKAGE}*@{VERSION}")]
    Unknown {
        /// The interface.
        export: String,
    },
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
        let names = exported(engine, pre.component())?;
        let mut hooks = Self::default();
        for hook in names.iter().copied() {
            hooks
                .find(hook, pre)
                .map_err(|source| Error::Malformed { hook, source })?;
        }
        if names.is_empty() {
            return Err(Error::None);
        }
        Ok(hooks)
    }

    fn find(&mut self, hook: Hook, pre: &InstancePre<GuestState>) -> wasmtime::Result<()> {
        match hook {
            Hook::Configure => self.configure = Some(exports::configure::GuestIndices::new(pre)?),
            Hook::Select => self.select = Some(exports::select::GuestIndices::new(pre)?),
            Hook::BeforeAdd => self.before_add = Some(exports::before_add::GuestIndices::new(pre)?),
            Hook::AfterAdd => self.after_add = Some(exports::after_add::GuestIndices::new(pre)?),
            Hook::Finalize => self.finalize = Some(exports::finalize::GuestIndices::new(pre)?),
            Hook::Check => self.check = Some(exports::check::GuestIndices::new(pre)?),
            Hook::Status => self.status = Some(exports::status::GuestIndices::new(pre)?),
            Hook::Del => self.del = Some(exports::del::GuestIndices::new(pre)?),
            Hook::Gc => self.gc = Some(exports::gc::GuestIndices::new(pre)?),
        }
        Ok(())
    }

    /// Checks the types of all hooks on one instance, so that no request is the first to find out.
    pub(crate) fn check(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> Result<(), Error> {
        macro_rules! check {
            ($($field:ident $hook:expr),+) => {$(
                if let Some(indices) = &self.$field {
                    indices
                        .load(&mut *store, instance)
                        .map_err(|source| Error::Malformed { hook: $hook, source })?;
                }
            )+};
        }
        check!(
            configure Hook::Configure, select Hook::Select, before_add Hook::BeforeAdd,
            after_add Hook::AfterAdd, finalize Hook::Finalize, check Hook::Check,
            status Hook::Status, del Hook::Del, gc Hook::Gc
        );
        Ok(())
    }

    /// Whether the module has a hook.
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

/// The hooks whose interfaces a component exports.
///
/// # Errors
/// [`Error::Unknown`] for an interface of the package, or a version of it, that this host lacks.
pub(crate) fn exported(engine: &Engine, component: &Component) -> Result<Vec<Hook>, Error> {
    let mut hooks = Vec::new();
    for (name, _) in component.component_type().exports(engine) {
        let Some(rest) = name.strip_prefix(PACKAGE) else {
            continue;
        };
        let hook = rest
            .split_once('@')
            .filter(|(_, version)| speaks(version))
            .and_then(|(interface, _)| {
                Hook::ALL
                    .into_iter()
                    .find(|hook| hook.as_str() == interface)
            });
        hooks.push(hook.ok_or_else(|| Error::Unknown {
            export: name.to_owned(),
        })?);
    }
    Ok(hooks)
}

/// The interfaces that a component imports, by name.
pub(crate) fn imported(engine: &Engine, component: &Component) -> Vec<String> {
    component
        .component_type()
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_speaks_its_minor_version_and_nothing_newer() {
        assert!(speaks(VERSION));
        for version in ["0.1.1", "0.2.0", "1.1.0", "0.1", "", "0.1.x"] {
            assert!(!speaks(version), "{version}");
        }
    }

    #[test]
    fn the_version_is_that_of_the_package() {
        let types = include_str!("../../../wit/policy-0.1.0/types.wit");
        assert!(types.contains(&format!("package cnidaria:policy@{VERSION};")));
    }
}
