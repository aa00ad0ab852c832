//! Runs the real binary against a daemon with canned responses.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod attachments;
mod bundle;
mod log;
mod node;
mod policy;
mod trace;
