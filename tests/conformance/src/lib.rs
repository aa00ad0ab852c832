//! Replays the recordings of `tests/fixtures/multus` on a private node: the same environment and
//! standard input for the shim, the same plugins, pods and definitions; then compares what was
//! answered and what is there. A test library: whatever is missing ends the test with a panic.
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
