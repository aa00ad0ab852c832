//! The adapter against a strict fake API server that counts requests.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails here says where"
)]

mod rig;

mod certificates;
mod client;
mod credentials;
mod events;
mod on_demand;
mod outages;
mod pods;
mod policy_status;
mod resources;
mod roles;
mod status;
