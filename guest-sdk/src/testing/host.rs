//! What the functions of the host answer natively: one set of data for each thread.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// One line that a policy logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The text.
    pub message: String,
}

/// The data behind the functions of the host.
#[derive(Debug, Default)]
pub struct Host {
    /// What was logged.
    pub log: Vec<LogLine>,
    /// Labels of namespaces, by namespace and key.
    pub namespace_labels: BTreeMap<(String, String), String>,
    /// Annotations of namespaces, by namespace and key.
    pub namespace_annotations: BTreeMap<(String, String), String>,
    /// Confs of NADs, by namespace and name.
    pub nads: BTreeMap<(String, String), String>,
    /// Annotations of NADs, by namespace, name and key.
    pub nad_annotations: BTreeMap<(String, String, String), String>,
    /// Labels of the node.
    pub node_labels: BTreeMap<String, String>,
    /// Annotations of the node.
    pub node_annotations: BTreeMap<String, String>,
    /// What was added to counters.
    pub counters: BTreeMap<String, f64>,
    /// What was observed.
    pub observations: Vec<(String, f64)>,
    /// The time, milliseconds since 1970.
    pub unix_ms: u64,
    /// The state, by key.
    pub state: BTreeMap<String, Vec<u8>>,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

/// Looks at or prepares the data of the current thread.
pub fn host<T>(look: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with_borrow_mut(look)
}
