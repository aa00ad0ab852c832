//! The JSON that the daemon and the engine hand to each other.

/// A JSON document whose bytes are kept: unknown keys, order and numbers survive.
pub type Document = Box<serde_json::value::RawValue>;

/// A CNI result in 1.x form.
pub type CniResult = Box<serde_json::value::RawValue>;
