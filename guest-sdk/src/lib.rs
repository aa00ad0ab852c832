//! SDK for Cnidaria policies in Rust.
//!
//! A policy is a type: [`Policy::new`] creates it from its settings, and it implements the traits
//! in [`hooks`] for the points of a request where it runs. [`export!`] turns it into a component
//! with exactly the listed hooks.
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
//!     fn before_add(&self, _: &Request, attachment: &Attachment, _: &Plan) -> Verdict {
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
//! The host calls [`Policy::new`] once when it loads the module, to validate the settings. Each
//! request then gets a fresh instance, created by another [`Policy::new`], ahead of the request if
//! possible, and dropped with it. All hooks of the request run in it: what one of them keeps in memory
//! is there for the later ones, from `select` to `validate_result`, and nothing outlives the request.
//! DEL is another request. [`json_state`] keeps values in between, which needs the grant `state`.
//!
//! # Grants
//! The modules [`attachments`], [`namespaces`], [`nads`], [`node`], [`metrics`], [`clock`], [`random`] and [`state`]
//! each need the grant of their name in the policy's configuration; a module that imports one of them
//! without it does not load. Some edits need a grant, too: see [`EditErrorKind::NotGranted`].
//!
//! # Tests
//! In native builds, the host's types ([`Request`], [`Attachment`], …) are plain structs that a
//! test creates, passes to a hook and inspects; see [`testing`]. So `cargo test` of a policy needs
//! no WebAssembly.

#![warn(missing_docs)]

// The derive names this crate, here too.
extern crate self as cnidaria_guest;

#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod const_text;
mod denial;
#[doc(hidden)]
pub mod describe;
#[doc(hidden)]
pub mod export;
pub mod hooks;
pub mod json_state;
mod reading;
pub mod schema;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod values;

#[cfg(target_family = "wasm")]
pub use bindings::types::{Attachment, Outcome, Plan, Request, Selections};
pub use bindings::types::{
    Bandwidth, Command, Denial, Dns, EditConflict, EditError, EditErrorKind, Failure, Finding,
    IfInfo, IpConfig, Origin, Owner, PodRef, PortMapping, Route, Selection, Severity,
    ValidAttachment,
};
#[cfg(target_family = "wasm")]
pub use bindings::{attachments, clock, log, metrics, nads, namespaces, node, random, state};
pub use cnidaria_guest_sdk_derive::Schema;
pub use hooks::{NoSettings, Policy, Verdict};
#[cfg(not(target_family = "wasm"))]
pub use testing::imports::{
    attachments, clock, log, metrics, nads, namespaces, node, random, state,
};
#[cfg(not(target_family = "wasm"))]
pub use testing::{Attachment, Outcome, Plan, Request, Selections};

/// The standard library's allocator, in a version that starts with the heap reserved by the linker
/// (`--initial-heap`). An instance that fits into it does not grow its memory, which saves two
/// system calls.
#[cfg(all(target_family = "wasm", target_os = "unknown", feature = "allocator"))]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// The usual imports of a policy.
pub mod prelude {
    pub use crate::hooks::{
        AddFailed, AfterAdd, BeforeAdd, Check, Del, Finalize, Gc, NoSettings, Policy, Select,
        Status, ValidatePlan, ValidateResult, ValidateSelections, Verdict,
    };
    pub use crate::{
        Attachment, Denial, Dns, EditError, EditErrorKind, Failure, Finding, Origin, Outcome, Plan,
        Request, Selection, Selections, Severity, debug, error, info, warn,
    };
}
