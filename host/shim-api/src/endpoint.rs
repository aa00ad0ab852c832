//! The daemon's socket and HTTP paths: those of Multus, and ours under `/v1/`.

use std::path::{Path, PathBuf};

/// File name of the socket in the socket directory.
pub const SOCKET_FILE: &str = "multus.sock";

/// The default socket directory.
pub const DEFAULT_SOCKET_DIR: &str = "/run/multus/";

/// `POST`: a CNI call from a container runtime.
pub const CNI: &str = "/cni";

/// `POST`: attaches or detaches one network of a running pod; called by hot-plug controllers.
pub const DELEGATE: &str = "/delegate";

/// `GET` or `POST`: `200` while the process serves, including during shutdown.
pub const HEALTHZ: &str = "/healthz";

/// `GET` or `POST`: `200` while the daemon accepts calls, `503` during shutdown.
pub const READYZ: &str = "/readyz";

/// `GET`: [`crate::admin::PolicyList`].
pub const POLICIES: &str = "/v1/policies";

/// `POST`: [`crate::admin::Release`]; responds with the updated [`crate::admin::PolicyList`] or,
/// with [`crate::response::STATUS_FAILED`], a CNI error.
pub const RELEASE: &str = "/v1/policies/release";

/// `POST`: [`crate::admin::Record`]; responds with [`crate::admin::Recording`] or, with
/// [`crate::response::STATUS_FAILED`], a CNI error.
pub const RECORD: &str = "/v1/policies/record";

/// `GET`: [`crate::admin::AttachmentList`].
pub const ATTACHMENTS: &str = "/v1/attachments";

/// `POST`: [`crate::admin::Forget`]; responds with the forgotten [`crate::admin::AttachmentList`]
/// or, with [`crate::response::STATUS_FAILED`], a CNI error.
pub const FORGET: &str = "/v1/attachments/forget";

/// `POST`: [`crate::explain::Explain`]; responds with a [`crate::explain::Explanation`] or, with
/// [`crate::response::STATUS_FAILED`], a CNI error. Changes nothing.
pub const EXPLAIN: &str = "/v1/explain";

/// `GET`: [`crate::trace::TraceList`] or, if the configuration turns traces off,
/// [`crate::response::STATUS_FAILED`] with a CNI error.
pub const TRACES: &str = "/v1/traces";

/// `GET`: the metrics, as on the port for Prometheus.
pub const METRICS: &str = "/v1/metrics";

/// `GET`: [`crate::log::LogLevels`]. `POST`: [`crate::log::LogChange`]; responds with the changed levels
/// or, with [`crate::response::STATUS_FAILED`], a CNI error.
pub const LOG: &str = "/v1/log";

/// `POST`: the daemon prepares to be uninstalled and responds with [`crate::admin::Left`]. It removes
/// the runtime's conf and writes it no more, stops shims from recording DELs, carries out those that
/// are recorded, and undoes what belongs to pods that are gone. Can be repeated; ends with the
/// process.
pub const LEAVE: &str = "/v1/leave";

/// Path of the socket in the directory `socket_dir`.
pub fn socket_path(socket_dir: &Path) -> PathBuf {
    socket_dir.join(SOCKET_FILE)
}
