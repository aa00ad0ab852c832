//! What the command line does with modules: compile them, and say what is in them.
//!
//! Only here is Cranelift. A module is untrusted, so the process that compiles it gives up what it
//! does not need first; see [`confine`].

mod child;

use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::module::Need;
use crate::report::Hook;
use crate::version::Version;
use crate::{digest, engine, hooks};

pub use child::child;

/// What a compilation may use. The daemon's wall clock comes on top.
const LIMITS: [(Resource, u64); 5] = [
    (Resource::Cpu, 100),
    (Resource::As, 4 << 30),
    (Resource::Fsize, 512 << 20),
    (Resource::Nofile, 64),
    (Resource::Core, 0),
];

/// What `cnidaria policy compile` exits with when it is the module that is wrong.
pub const REFUSED: u8 = crate::artifact::REFUSED;

/// Why a module is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not WebAssembly at all.
    #[error("no WebAssembly: it begins with {start:02x?}, not with \"\\0asm\"")]
    NotWasm {
        /// The first bytes.
        start: Vec<u8>,
    },
    /// A core module.
    #[error(
        "a core module, not a component: build it for wasm32-wasip2, or with wasm-component-ld as linker"
    )]
    CoreModule,
    /// The compiler refuses it.
    #[error("{}", format!("{:#}", .0).replace('\n', " "))]
    Compile(wasmtime::Error),
    /// A limit of the process cannot be set.
    #[error("cannot limit this process")]
    Confine(#[source] rustix::io::Errno),
    /// The daemon that wanted the artefact has ended.
    #[error("the daemon has ended")]
    Orphan,
    /// Neither the module nor the limits can be read, or the artefact cannot be written.
    #[error("cannot read the module or write the artefact")]
    Io(#[source] std::io::Error),
}

impl Error {
    /// Whether it is the module that is wrong, so that it will be refused again.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotWasm { .. } | Self::CoreModule | Self::Compile(_) => true,
            Self::Confine(_) | Self::Orphan | Self::Io(_) => false,
        }
    }
}

/// What is in a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// `sha256:…` of the file.
    pub digest: String,
    /// The version of the WIT package that it targets, as far as its hooks say.
    pub version: Option<&'static str>,
    /// The hooks that it has.
    pub hooks: Vec<Hook>,
    /// Why the daemon would refuse the exports.
    pub fault: Option<String>,
    /// All imports.
    pub imports: Vec<Import>,
}

/// An interface that a module imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Import {
    /// Every policy has it.
    Always {
        /// The interface with package and version.
        name: String,
    },
    /// It needs a grant.
    Granted {
        /// The interface with package and version.
        name: String,
        /// The grant.
        grant: &'static str,
    },
    /// WASI, of which this host has nothing but the interfaces.
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
            Ok(Need::Types | Need::Settings | Need::Log) => Self::Always { name },
            Ok(Need::Wasi) => Self::Wasi { name },
            Ok(Need::Grant(grant)) => Self::Granted {
                name,
                grant: grant.as_str(),
            },
            Err(_) => Self::Unknown { name },
        }
    }
}

/// Limits processor time, memory and files of this process for good. Called before a module is read, for a
/// person; for the daemon, see [`child`].
///
/// # Errors
/// [`Error::Confine`].
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

/// Compiles a module into an artefact for this version and this processor.
///
/// # Errors
/// [`Error`]: it is no component, or the compiler refuses it.
pub fn compile(module: &[u8]) -> Result<Vec<u8>, Error> {
    check_kind(module)?;
    engine()
        .and_then(|engine| engine.precompile_component(module))
        .map_err(Error::Compile)
}

/// Says what is in a module: its hooks and its imports. Compiles it for that.
///
/// # Errors
/// As [`compile`].
pub fn inspect(module: &[u8]) -> Result<Inspection, Error> {
    check_kind(module)?;
    let engine = engine().map_err(Error::Compile)?;
    let component = Component::new(&engine, module).map_err(Error::Compile)?;
    let (target, fault) = match hooks::exported(&engine, &component) {
        Ok(target) => (target, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let (version, hooks) = target.unzip();
    Ok(Inspection {
        digest: digest::of(module),
        version: version.map(Version::as_str),
        hooks: hooks.unwrap_or_default(),
        fault,
        imports: hooks::imported(&engine, &component)
            .into_iter()
            .map(Import::of)
            .collect(),
    })
}

fn engine() -> wasmtime::Result<Engine> {
    engine::engine()
}

/// Tells core modules and other files from components before the compiler does, in better words.
fn check_kind(module: &[u8]) -> Result<(), Error> {
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
