//! The host's side of a hook as plain structs, so that a policy's tests run natively.
//!
//! A test makes what the hook is to see, calls the hook, and looks at what became of it:
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
//! #     fn before_add(&self, _: &Request, attachment: &Attachment) -> Verdict {
//! #         attachment.set_mtu(1400)?;
//! #         Ok(())
//! #     }
//! # }
//! let policy: FixedMtu = testing::configure("{}").unwrap();
//! let request = Request::add("default", "web-1").with_label("app", "web");
//! let attachment = Attachment::new("default/storage", "net1", r#"{"type":"macvlan"}"#);
//!
//! policy.before_add(&request, &attachment).unwrap();
//!
//! assert_eq!(attachment.conf_get("/mtu").as_deref(), Some("1400"));
//! ```
//!
//! These structs apply edits at once and check little: which edits the real host refuses, and that
//! a denial drops them, is the host's business and tested there. [`Attachment::refusing`] and
//! [`Outcome::refusing`] make every edit fail, to see what a policy does about it. The functions of
//! the host (log, clock, state, …) work on what [`host`] holds for the current thread.

mod attachment;
mod host;
pub(crate) mod imports;
mod outcome;
mod request;
mod selections;

pub use attachment::Attachment;
pub use host::{Host, LogLine, host};
pub use outcome::{Outcome, Plan};
pub use request::Request;
pub use selections::Selections;

use crate::Policy;

/// Makes a policy from JSON settings as the host does.
///
/// # Errors
/// What the operator would be told.
pub fn configure<P: Policy>(settings: &str) -> Result<P, String> {
    crate::export::configure(settings)
}
