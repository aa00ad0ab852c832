//! Formats errors for logs and responses.

pub use cni_types::error::chain;
