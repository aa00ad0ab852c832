//! What the imports of a module need in order to be linked.

use crate::model::grant::Grant;
use crate::wasm::version::{Interface, Version};

/// WASI packages that are linked, with nothing behind them.
const WASI: [&str; 6] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// What an import needs in order to be linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: every policy has the types that hooks use.
    Types(Version),
    /// Nothing: every policy has its settings.
    Settings,
    /// Nothing: every policy may log.
    Log,
    /// The grant named after the interface.
    Grant(Grant),
    /// Nothing: every policy may import WASI, which gives access to nothing.
    Wasi,
}

impl Need {
    /// What the import of an interface, with package and version, needs; `None` if this host does
    /// not have the interface.
    pub(crate) fn of(import: &str) -> Option<Self> {
        if cfg!(feature = "wasi") && WASI.iter().any(|package| import.starts_with(package)) {
            return Some(Self::Wasi);
        }
        let interface = Interface::parse(import)?;
        let version = interface.version?;
        match interface.name {
            "types" => Some(Self::Types(version)),
            "settings" => Some(Self::Settings),
            "log" => Some(Self::Log),
            name => {
                let mut grants = Grant::IMPORTS.into_iter();
                grants.find(|grant| grant.as_str() == name).map(Self::Grant)
            }
        }
    }
}
