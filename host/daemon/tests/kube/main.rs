//! The API server's adapter against a strict fake API server that counts requests.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails here says where"
)]

mod rig;
#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod credentials;
mod events;
mod idle;
mod networks;
mod on_demand;
mod outages;
mod pods;
mod requests;
mod resources;
mod roles;
mod status;
