//! The daemon and the pipeline with the API server's adapter, against a strict fake API server.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails here says where"
)]

#[allow(dead_code, reason = "the adapter's own tests use the rest")]
#[path = "../../../kube/tests/api_server/rig.rs"]
mod rig;
#[path = "../support/mod.rs"]
mod support;

mod idle;
mod networks;
mod requests;
mod uninstalled;
