//! The adapter of the API server against one that is strict, and counts.

mod rig;

mod events;
mod outages;
mod pods;
mod status;
