//! The command line's work on modules: compiling and inspecting them.
//!
//! Only this module uses Cranelift. Modules are untrusted, so a process that compiles one drops
//! its privileges first; see [`confine`].

mod child;
mod dry_run;

use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::load::description;
use crate::load::digest;
use crate::model::description::Description;
use crate::model::report::Hook;
use crate::wasm::engine;
use crate::wasm::hooks;
use crate::wasm::imports::Need;
use crate::wasm::version::Version;

pub use child::child;

/// Resource limits of a compilation. The daemon adds a wall-clock limit.
const LIMITS: [(Resource, u64); 5] = [
    (Resource::Cpu, 100),
    (Resource::As, 4 << 30),
    (Resource::Fsize, 512 << 20),
    (Resource::Nofile, 64),
    (Resource::Core, 0),
];

/// Exit code of `cnidaria policy compile` if the module itself is at fault.
pub const REFUSED: u8 = crate::load::artifact::REFUSED;

/// Why a module cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not WebAssembly.
    #[error("no WebAssembly: {}", beginning(start))]
    NotWasm {
        /// The file's first bytes.
        start: Vec<u8>,
    },
    /// The file is a core module, not a component.
    #[error(
        "a core module, not a component: build it for wasm32-wasip2, or with wasm-component-ld as linker"
    )]
    CoreModule,
    /// The compiler rejects the module.
    #[error("{}", format!("{:#}", .0).replace('\n', " "))]
    Compile(wasmtime::Error),
    /// A resource limit cannot be set.
    #[error("cannot limit this process")]
    Confine(#[source] rustix::io::Errno),
    /// The daemon that asked for the artefact has exited.
    #[error("the daemon has ended")]
    Orphan,
    /// The module or the limits cannot be read, or the artefact cannot be written.
    #[error("cannot read the module or write the artefact")]
    Io(#[source] std::io::Error),
}

/// What a file that is not WebAssembly has in place of its first bytes.
fn beginning(start: &[u8]) -> String {
    match start.is_empty() {
        true => "the file is empty".to_owned(),
        false => format!(
            "it begins with \"{}\", not with \"\\0asm\"",
            start.escape_ascii()
        ),
    }
}

impl Error {
    /// Whether the module itself is at fault, so that it would be rejected again.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotWasm { .. } | Self::CoreModule | Self::Compile(_) => true,
            Self::Confine(_) | Self::Orphan | Self::Io(_) => false,
        }
    }
}

/// What a module contains.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Digest of the file, `sha256:…`.
    pub digest: String,
    /// The WIT package version that the module's hooks target, if it has any.
    pub version: Option<&'static str>,
    /// The hooks that the module exports.
    pub hooks: Vec<Hook>,
    /// Why the daemon would reject the exports.
    pub fault: Option<String>,
    /// All imports.
    pub imports: Vec<Import>,
    /// What an instance needs before it runs, by the key of the limit.
    pub needs: Vec<(&'static str, u64)>,
    /// What the module says of itself, or why that is not usable.
    pub description: Result<Option<Description>, String>,
}

impl Inspection {
    /// Why the daemon would not load the module.
    pub fn faults(&self) -> Vec<String> {
        let unknown = self.imports.iter().filter_map(|import| match import {
            Import::Unknown { name } => {
                Some(format!("imports {name}, which this version does not have"))
            }
            _ => None,
        });
        unknown.chain(self.fault.clone()).collect()
    }
}

/// An interface that a module imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Import {
    /// Every policy has it.
    Always {
        /// The interface with package and version.
        name: String,
    },
    /// The policy needs a grant.
    Granted {
        /// The interface with package and version.
        name: String,
        /// The name of the grant.
        grant: &'static str,
    },
    /// Part of WASI, which this host provides without access to anything.
    Wasi {
        /// The interface with package and version.
        name: String,
    },
    /// This host does not have it.
    Unknown {
        /// The interface with package and version.
        name: String,
    },
}

impl Import {
    /// The interface with package and version.
    pub fn name(&self) -> &str {
        match self {
            Self::Always { name }
            | Self::Granted { name, .. }
            | Self::Wasi { name }
            | Self::Unknown { name } => name,
        }
    }

    fn of(name: String) -> Self {
        match Need::of(&name) {
            Some(Need::Types(_) | Need::Settings | Need::Log) => Self::Always { name },
            Some(Need::Wasi) => Self::Wasi { name },
            Some(Need::Grant(grant)) => Self::Granted {
                name,
                grant: grant.as_str(),
            },
            None => Self::Unknown { name },
        }
    }
}

/// Permanently limits this process's processor time, memory and files. The command line calls it
/// before reading a module; the daemon's compiler uses [`child`].
///
/// # Errors
/// [`Error::Confine`] if a limit cannot be set.
pub fn confine() -> Result<(), Error> {
    for (resource, limit) in LIMITS {
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        setrlimit(resource, limit).map_err(Error::Confine)?;
    }
    Ok(())
}

/// Compiles a module into an artefact for this version and processor.
///
/// # Errors
/// [`Error`] if the file is not a component, or the compiler rejects it.
pub fn compile(module: &[u8]) -> Result<Vec<u8>, Error> {
    check_kind(module)?;
    engine()
        .and_then(|engine| engine.precompile_component(module))
        .map_err(Error::Compile)
}

/// The custom section with what a module says of itself.
pub const DESCRIPTION: &str = description::SECTION;

/// What a module says of itself, without compiling it; `None` if it says nothing.
///
/// # Errors
/// What is wrong with the section.
pub fn description(module: &[u8]) -> Result<Option<Description>, String> {
    description::of_bytes(module).map_err(|error| cni_types::error::chain(&error))
}

/// Lists a module's hooks and imports, compiling it to find them.
///
/// # Errors
/// Same as [`compile`].
pub fn inspect(module: &[u8]) -> Result<Inspection, Error> {
    component(module).map(|component| inspection(module, &component))
}

/// Compiles a module into an artefact, and lists its hooks and imports.
///
/// # Errors
/// Same as [`compile`].
pub fn compile_and_inspect(module: &[u8]) -> Result<(Vec<u8>, Inspection), Error> {
    let component = component(module)?;
    let artefact = component.serialize().map_err(Error::Compile)?;
    Ok((artefact, inspection(module, &component)))
}

fn component(module: &[u8]) -> Result<Component, Error> {
    check_kind(module)?;
    let engine = engine().map_err(Error::Compile)?;
    Component::new(&engine, module).map_err(Error::Compile)
}

fn inspection(module: &[u8], component: &Component) -> Inspection {
    let engine = component.engine();
    let (target, fault) = match hooks::exported(engine, component) {
        Ok(target) => (target, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let (version, hooks) = target.unzip();
    let needs = component.resources_required().map(|needs| {
        vec![
            ("memories", u64::from(needs.num_memories)),
            (
                "memoryBytes",
                needs.max_initial_memory_size.unwrap_or_default(),
            ),
            ("tables", u64::from(needs.num_tables)),
            (
                "tableElements",
                needs.max_initial_table_size.unwrap_or_default(),
            ),
        ]
    });
    Inspection {
        digest: digest::of(module),
        version: version.map(Version::as_str),
        hooks: hooks.unwrap_or_default(),
        fault,
        needs: needs.unwrap_or_default(),
        description: self::description(module),
        imports: hooks::imported(engine, component)
            .into_iter()
            .map(Import::of)
            .collect(),
    }
}

fn engine() -> wasmtime::Result<Engine> {
    engine::engine()
}

/// Rejects core modules and other files with clearer errors than the compiler's.
pub(crate) fn check_kind(module: &[u8]) -> Result<(), Error> {
    let (magic, rest) = module.split_at_checked(4).unwrap_or((module, &[]));
    if magic != b"\0asm" {
        return Err(Error::NotWasm {
            start: magic.to_vec(),
        });
    }
    // Version 1 in layer 0 is a core module; components are layer 1.
    if rest.starts_with(&[1, 0, 0, 0]) {
        return Err(Error::CoreModule);
    }
    Ok(())
}
