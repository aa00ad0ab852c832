//! The settings of policies in the daemon's file.

use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where policies are.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyConfig {
    /// Directory of modules and of configurations beside them.
    pub modules: PathBuf,
    /// Second directory of configurations.
    #[serde(default)]
    pub configs: Option<PathBuf>,
    /// Directory of compiled artefacts.
    #[serde(default = "default_policy_cache")]
    pub cache: PathBuf,
    /// The `cnidaria` binary; the one beside the daemon's where absent.
    #[serde(default)]
    pub compiler: Option<PathBuf>,
    /// Directory of what policies with the grant `state` keep.
    #[serde(default = "default_policy_state")]
    pub state: PathBuf,
    /// Names of policies without which STATUS and ADDs fail, also when their files are gone.
    #[serde(default)]
    pub required: Vec<String>,
    /// Namespaces whose pods no policy sees.
    #[serde(default)]
    pub exempt_namespaces: Vec<String>,
    /// While this file exists, no policy runs.
    #[serde(default)]
    pub bypass_file: Option<PathBuf>,
    /// Milliseconds of all policies together in one request.
    #[serde(default = "default_policy_time")]
    pub request_timeout_ms: NonZeroU64,
    /// Bytes of memory of all guests together.
    #[serde(default = "default_guest_memory")]
    pub guest_memory_bytes: u64,
    /// Milliseconds of one compilation.
    #[serde(default = "default_compile_time")]
    pub compile_timeout_ms: NonZeroU64,
    /// Bytes of memory of one compilation.
    #[serde(default = "default_compile_memory")]
    pub compile_memory_bytes: NonZeroU64,
    /// Control group in which modules are compiled; that of delegates where absent.
    #[serde(default)]
    pub compile_cgroup: Option<PathBuf>,
}

fn default_policy_time() -> NonZeroU64 {
    const DEFAULT: NonZeroU64 = NonZeroU64::new(30_000).expect("it is not zero");
    DEFAULT
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

fn default_policy_cache() -> PathBuf {
    PathBuf::from("/var/lib/cnidaria/policies")
}

fn default_policy_state() -> PathBuf {
    PathBuf::from("/var/lib/cnidaria/policy-state")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::daemon::DaemonConfig;

    #[test]
    fn policies_leave_half_of_a_request_to_delegates() {
        let check = |own: &str, expected: u64| {
            let text = format!(r#"{{"cnidaria":{own}}}"#);
            let own = DaemonConfig::parse(text.as_bytes()).unwrap().own;
            let policies = own.policies.unwrap();
            assert_eq!(policies.guest_memory_bytes, 256 << 20);
            let time = own.timeouts.policies(&policies);
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
