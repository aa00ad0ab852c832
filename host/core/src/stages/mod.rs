//! The stages of a request, in order. Each takes one type and returns the next; `pipeline` connects
//! them.

pub mod pod_args;
pub mod request;

pub mod deferred;
pub mod hotplug;

pub mod readiness;

pub mod identity;
pub mod known;

pub mod lookups;

pub mod checks;
pub mod devices;
pub mod network_lookup;
pub mod resolve;
pub mod tenant_conf;

pub mod self_delegation;
