//! t
pub(crate) mod handle;
