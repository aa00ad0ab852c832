//! The host's side of a hook as plain structs, so that a policy's tests run natively.
//!
//! A test creates the hook's arguments, calls the hook, and inspects the outcome:
//!
//! ```
//! use cnidaria_guest::prelude::*;
//! use cnidaria_guest::testing;
//!
//! # struct FixedMtu;
//! # impl Policy for FixedMtu {
//! #     type Settings = NoSettings;
//! #     fn new(_: NoSettings) -> Result<Self, String> { Ok(Self) }
//! # }
//! # impl BeforeAdd for FixedMtu {
//! #     fn before_add(&self, _: &Request, attachment: &Attachment, _: &Plan) -> Verdict {
//! #         attachment.set_mtu(1400)?;
//! #         Ok(())
//! #     }
//! # }
//! let policy: FixedMtu = testing::configure("{}").unwrap();
//! let request = Request::add("default", "web-1").with_label("app", "web");
//! let attachment = Attachment::new("default/storage", "net1", r#"{"type":"macvlan"}"#);
//!
//! policy.before_add(&request, &attachment, &Plan::default()).unwrap();
//!
//! assert_eq!(attachment.conf_get("/mtu").as_deref(), Some("1400"));
//! ```
//!
//! [`Node`] runs whole requests of several sandboxes through all hooks of a policy, with what it keeps
//! in between.
//!
//! These structs apply edits immediately and validate little: rejecting edits and dropping them on
//! denial is the real host's job, and tested there. [`Attachment::refusing`] and
//! [`Outcome::refusing`] make every edit fail, to test how a policy reacts. The host's functions
//! (log, clock, state, …) use the current thread's [`host`] data.

mod attachment;
mod host;
pub(crate) mod imports;
mod node;
mod outcome;
mod request;
mod selections;

pub use attachment::Attachment;
pub use host::{Host, LogLine, host};
pub use node::{Add, Added, Denied, Exported, Hooks, Node};
pub use outcome::{Outcome, Plan};
pub use request::Request;
pub use selections::Selections;

use crate::Policy;

/// Creates a policy from JSON settings, like the host.
///
/// # Errors
/// The error that the operator would see.
pub fn configure<P: Policy>(settings: &str) -> Result<P, String> {
    crate::export::configure(settings)
}
