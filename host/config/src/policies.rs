//! The settings of policies in the daemon's file.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Directories and limits of the policies.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyConfig {
    /// Directory of modules, with their configurations beside them.
    pub modules: PathBuf,
    /// Second directory of configurations.
    #[serde(default)]
    pub configs: Option<PathBuf>,
    /// Cache directory of compiled modules.
    #[serde(default = "default_policy_cache")]
    pub cache: PathBuf,
    /// The `cnidaria` binary; default: the one beside the daemon's.
    #[serde(default)]
    pub compiler: Option<PathBuf>,
    /// Directory for the data of policies with the grant `state`.
    #[serde(default = "default_policy_state")]
    pub state: PathBuf,
    /// Required policies: without them STATUS and ADDs fail, even if their files are gone.
    #[serde(default)]
    pub required: Vec<String>,
    /// Namespaces whose pods no policy sees.
    #[serde(default)]
    pub exempt_namespaces: Vec<String>,
    /// While this file exists, no policy runs.
    #[serde(default)]
    pub bypass_file: Option<PathBuf>,
    /// Timeout of all policies in one request, in milliseconds.
    #[serde(default = "default_policy_time")]
    pub request_timeout_ms: NonZeroU64,
    /// Bytes of all policies' edits in one request.
    #[serde(default)]
    pub request_edit_bytes: Option<NonZeroU64>,
    /// JSON members and elements of all policies' edits in one request.
    #[serde(default)]
    pub request_edit_members: Option<NonZeroU64>,
    /// Memory limit of all guests together, in bytes.
    #[serde(default = "default_guest_memory")]
    pub guest_memory_bytes: u64,
    /// Timeout of one compilation, in milliseconds.
    #[serde(default = "default_compile_time")]
    pub compile_timeout_ms: NonZeroU64,
    /// Memory limit of one compilation, in bytes.
    #[serde(default = "default_compile_memory")]
    pub compile_memory_bytes: NonZeroU64,
    /// Cgroup for compilations; default: the delegates'.
    #[serde(default)]
    pub compile_cgroup: Option<PathBuf>,
    /// Whether the cluster shows the state of this node's policies.
    #[serde(default = "default_node_status")]
    pub node_status: bool,
    /// Recording of requests; none if absent.
    #[serde(default)]
    pub record: Option<RecordConfig>,
}

/// The recording of the requests that policies see.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordConfig {
    /// Directory of the recording, readable by root only.
    #[serde(default = "default_record")]
    pub directory: PathBuf,
    /// Limit of its files in bytes.
    #[serde(default = "default_record_bytes")]
    pub max_bytes: NonZeroU64,
    /// Whether recording begins with the daemon.
    #[serde(default = "default_at_start")]
    pub at_start: bool,
    /// What is left out.
    #[serde(default)]
    pub redact: Redaction,
}

/// `policies.record.redact`: values that recordings leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Redaction {
    /// Names of annotations; a `*` at the end stands for any rest.
    pub annotations: Vec<String>,
    /// Keys of members in confs, results and other JSON, at any depth, in any case.
    pub keys: Vec<String>,
    /// JSON pointers into confs; the token `*` stands for any.
    pub pointers: Vec<String>,
}

fn default_policy_time() -> NonZeroU64 {
    const DEFAULT: NonZeroU64 = NonZeroU64::new(30_000).expect("it is not zero");
    DEFAULT
}

impl PolicyConfig {
    /// Timeout of all policies in one request, as configured.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.get())
    }
}

fn default_guest_memory() -> u64 {
    256 << 20
}

fn default_compile_time() -> NonZeroU64 {
    const DEFAULT: NonZeroU64 = NonZeroU64::new(120_000).expect("it is not zero");
    DEFAULT
}

fn default_compile_memory() -> NonZeroU64 {
    const DEFAULT: NonZeroU64 = NonZeroU64::new(1 << 30).expect("it is not zero");
    DEFAULT
}

fn default_node_status() -> bool {
    true
}

fn default_policy_cache() -> PathBuf {
    PathBuf::from("/var/lib/cnidaria/policies")
}

fn default_policy_state() -> PathBuf {
    PathBuf::from("/var/lib/cnidaria/policy-state")
}

fn default_record() -> PathBuf {
    PathBuf::from("/var/lib/cnidaria/policy-record")
}

fn default_record_bytes() -> NonZeroU64 {
    const DEFAULT: NonZeroU64 = NonZeroU64::new(64 << 20).expect("it is not zero");
    DEFAULT
}

fn default_at_start() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::DaemonConfig;

    #[test]
    fn policies_leave_half_of_a_request_to_delegates() {
        let check = |own: &str, expected: u64| {
            let text = format!(r#"{{"cnidaria":{own}}}"#);
            let own = DaemonConfig::parse(text.as_bytes()).unwrap().own;
            let policies = own.policies.unwrap();
            assert_eq!(policies.guest_memory_bytes, 256 << 20);
            let time = own.timeouts.policies(policies.request_timeout());
            assert_eq!(time, Duration::from_millis(expected), "{text}");
        };
        check(r#"{"policies":{"modules":"/p"}}"#, 30_000);
        check(
            r#"{"policies":{"modules":"/p","requestTimeoutMs":900000}}"#,
            55_000,
        );
        check(
            r#"{"policies":{"modules":"/p"},"timeouts":{"requestMs":8000}}"#,
            4_000,
        );
    }
}
