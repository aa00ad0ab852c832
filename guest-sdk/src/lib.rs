//! Writes Cnidaria policies in Rust.
//!
//! A policy is a type: [`Policy::new`] makes it from its settings, and the traits in [`hooks`] say
//! at which points of a request it runs. [`export!`] turns it into a component that has exactly
//! the hooks that it lists.
//!
//! ```
//! use cnidaria_guest::prelude::*;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     mtu: u32,
//! }
//!
//! struct FixedMtu {
//!     mtu: u32,
//! }
//!
//! impl Policy for FixedMtu {
//!     type Settings = Settings;
//!
//!     fn new(settings: Settings) -> Result<Self, String> {
//!         match settings.mtu {
//!             mtu @ 1280..=9216 => Ok(Self { mtu }),
//!             mtu => Err(format!("mtu {mtu} is outside of 1280..=9216")),
//!         }
//!     }
//! }
//!
//! impl BeforeAdd for FixedMtu {
//!     fn before_add(&self, _request: &Request, attachment: &Attachment) -> Verdict {
//!         attachment.set_mtu(self.mtu)?;
//!         Ok(())
//!     }
//! }
//!
//! cnidaria_guest::export!(FixedMtu: before_add);
//! # fn main() {}
//! ```
//!
//! # Life of a policy
//! The host calls [`Policy::new`] once when it loads the module, to have the settings checked. Each
//! request then gets a fresh instance, made by [`Policy::new`] again, ahead of the request where that
//! can be, and dropped with it: nothing that a hook keeps in memory outlives the request.
//!
//! # Tests
//! Natively, the types of the host ([`Request`], [`Attachment`], …) are plain structs that a test
//! makes, hands to a hook and looks at; see [`testing`]. So `cargo test` of a policy needs no
//! WebAssembly at all.

#[doc(hidden)]
pub mod bindings;
mod denial;
#[doc(hidden)]
pub mod export;
pub mod hooks;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod values;

#[cfg(target_family = "wasm")]
pub use bindings::types::{Attachment, Outcome, Plan, Request, Selections};
pub use bindings::types::{
    Bandwidth, Command, Denial, Dns, EditError, Finding, IfInfo, IpConfig, PodRef, PortMapping,
    Route, Selection, Severity, ValidAttachment,
};
#[cfg(target_family = "wasm")]
pub use bindings::{clock, log, metrics, nads, namespaces, node, random, state};
pub use hooks::{NoSettings, Policy, Verdict};
#[cfg(not(target_family = "wasm"))]
pub use testing::imports::{clock, log, metrics, nads, namespaces, node, random, state};
#[cfg(not(target_family = "wasm"))]
pub use testing::{Attachment, Outcome, Plan, Request, Selections};

/// That of the standard library, in a version that begins with what the linker has set apart as a heap
/// (`--initial-heap`). An instance that fits in there does not grow, which would take two calls of the
/// kernel.
#[cfg(all(target_family = "wasm", target_os = "unknown", feature = "allocator"))]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// What nearly every policy imports.
pub mod prelude {
    pub use crate::hooks::{
        AfterAdd, BeforeAdd, Check, Del, Finalize, Gc, NoSettings, Policy, Select, Status, Verdict,
    };
    pub use crate::{
        Attachment, Denial, Dns, EditError, Finding, Outcome, Plan, Request, Selection, Selections,
        Severity, debug, error, info, warn,
    };
}
