//! Drives the real binary against a daemon that knows its answers by heart.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod attachments;
mod node;
mod policy;
