//! Data behind the host's functions in native builds, per thread.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::bindings::attachments::Info;

/// One line that a policy logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The logged text.
    pub message: String,
}

/// Data behind the host's functions.
#[derive(Debug, Default)]
pub struct Host {
    /// Lines logged by the policy.
    pub log: Vec<LogLine>,
    /// Attachments of the node; `None` while the daemon does not know them.
    pub attachments: Option<Vec<Info>>,
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
    /// Counter totals, by name.
    pub counters: BTreeMap<String, f64>,
    /// Histogram observations, in order.
    pub observations: Vec<(String, f64)>,
    /// Current time in milliseconds since 1970.
    pub unix_ms: u64,
    /// State values, by key.
    pub state: BTreeMap<String, Vec<u8>>,
    /// Keys that are bound to a sandbox, with its container id.
    pub bound: BTreeMap<String, String>,
    /// Container id of the sandbox of the running request.
    pub container_id: String,
}

impl Host {
    /// Removes what is bound to a sandbox.
    pub(super) fn release(&mut self, container: &str) {
        let state = &mut self.state;
        self.bound.retain(|key, of| {
            let stays = of != container;
            if !stays {
                state.remove(key);
            }
            stays
        });
    }
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

/// Accesses the data of the current thread.
pub fn host<T>(look: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with_borrow_mut(look)
}
