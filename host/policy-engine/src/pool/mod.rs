//! Instances beyond one call: those of a request, those made ahead, and those to drop.

pub(crate) mod ahead;
pub(crate) mod background;
pub(crate) mod request;
