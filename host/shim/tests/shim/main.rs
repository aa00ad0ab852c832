//! Drives the real binary as a container runtime does.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests may panic like tests"
)]

mod answers;
mod closure;
mod deferring;
mod impostor;
mod rig;
mod waiting;
mod wrong_calls;
