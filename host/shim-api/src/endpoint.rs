//! Where the daemon listens and which paths it answers: Multus' names, and our own under `/v1/`.

use std::path::{Path, PathBuf};

/// Name of the socket in the socket directory.
pub const SOCKET_FILE: &str = "multus.sock";

/// The socket directory where neither conf nor command line names one.
pub const DEFAULT_SOCKET_DIR: &str = "/run/multus/";

/// `POST`: a CNI call, as a container runtime made it.
pub const CNI: &str = "/cni";

/// `POST`: attach or detach one network of a running pod (what a hot-plug controller calls).
pub const DELEGATE: &str = "/delegate";

/// `GET` or `POST`: `200` while the process serves, also during its shutdown.
pub const HEALTHZ: &str = "/healthz";

/// `GET` or `POST`: `200` while the daemon takes new calls, `500` before and during its shutdown.
pub const READYZ: &str = "/readyz";

/// `GET`: [`crate::admin::PolicyList`].
pub const POLICIES: &str = "/v1/policies";

/// `POST`: [`crate::admin::Release`]; answers the [`crate::admin::PolicyList`] of afterwards or, with
/// [`crate::response::STATUS_FAILED`], a CNI error.
pub const RELEASE: &str = "/v1/policies/release";

/// `GET`: [`crate::admin::AttachmentList`].
pub const ATTACHMENTS: &str = "/v1/attachments";

/// `POST`: [`crate::admin::Forget`]; answers the [`crate::admin::AttachmentList`] that was forgotten,
/// or, with [`crate::response::STATUS_FAILED`], a CNI error.
pub const FORGET: &str = "/v1/attachments/forget";

/// The path of the socket in the directory `socket_dir`.
pub fn socket_path(socket_dir: &Path) -> PathBuf {
    socket_dir.join(SOCKET_FILE)
}
