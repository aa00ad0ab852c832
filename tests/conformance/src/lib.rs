//! Replays the recordings of `tests/fixtures/multus` on a private node, with the same environment
//! and standard input for the shim and the same plugins, pods and NADs; then compares responses and
//! state. A test library: it panics on anything missing.
//!
//! ```text
//! golden ─▶ rig ─▶ call ─▶ observe ─▶ normal ─▶ compare
//! ```

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "what is missing or malformed fails the test"
)]

pub mod compare;
pub mod exchange;
pub mod golden;
pub mod normal;
pub mod observe;
pub mod rig;
pub mod steps;
