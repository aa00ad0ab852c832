//! One configuration file: what a policy is made of beside its module.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Error, Grant, Limits, Match, limits};
use crate::generation::Mode;
use crate::report::Cause;
use crate::transaction::TypeGrant;

/// A policy as the operator wants it: everything but the module's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Name, which also gives the order.
    pub(crate) name: Arc<str>,
    /// The file that made it a policy.
    pub(crate) file: PathBuf,
    /// The module's file.
    pub(crate) module: PathBuf,
    /// The digest that the module must have, `sha256:…`.
    pub(crate) digest: Option<String>,
    /// The settings as JSON text, `{}` where there are none.
    pub(crate) settings: Arc<str>,
    /// Which requests it sees.
    pub(crate) matching: Match,
    /// Whether it decides.
    pub(crate) mode: Mode,
    /// What its failures mean on ADD and CHECK.
    pub(crate) failure: FailurePolicies,
    /// What it may use.
    pub(crate) limits: Limits,
    /// What it may have.
    pub(crate) grants: BTreeSet<Grant>,
    /// What it may change `type` to.
    pub(crate) types: TypeGrant,
    /// Whether STATUS and ADDs fail without it, whatever its failure policy says.
    pub(crate) required: bool,
    /// What a conflict with another policy means.
    pub(crate) on_conflict: OnConflict,
}

/// Whether a failure denies the request, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FailurePolicies {
    load: FailurePolicy,
    trap: FailurePolicy,
    timeout: FailurePolicy,
    limit: FailurePolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FailurePolicy {
    /// The request is denied.
    #[default]
    Closed,
    /// The request goes on without the policy.
    Open,
}

/// What an edit of a path that another policy set means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnConflict {
    /// The request is denied, naming both.
    #[default]
    Deny,
    /// The edit is refused and the policy goes on: the first one wins.
    Keep,
}

impl FailurePolicies {
    /// Whether a failure of this class denies the request.
    pub(crate) fn closed(self, cause: Cause) -> bool {
        let policy = match cause {
            Cause::Load => self.load,
            Cause::Trap => self.trap,
            Cause::Timeout => self.timeout,
            Cause::Limit => self.limit,
            // Decisions, not failures.
            Cause::Policy | Cause::Conflict => FailurePolicy::Closed,
        };
        policy == FailurePolicy::Closed
    }

    fn all(policy: FailurePolicy) -> Self {
        Self {
            load: policy,
            trap: policy,
            timeout: policy,
            limit: policy,
        }
    }
}

impl Default for FailurePolicies {
    fn default() -> Self {
        Self::all(FailurePolicy::Closed)
    }
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct File {
    module: Option<String>,
    digest: Option<String>,
    settings: Option<Box<RawValue>>,
    r#match: Match,
    mode: Mode,
    failure_policy: FailureFile,
    limits: limits::File,
    grants: BTreeSet<Grant>,
    allow_types: BTreeSet<String>,
    required: bool,
    on_conflict: OnConflict,
}

/// One word for all classes, or a word for some.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"closed\", \"open\", or an object of these by load, trap, timeout and limit"
)]
enum FailureFile {
    All(FailurePolicy),
    Each(FailureEach),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FailureEach {
    load: FailurePolicy,
    trap: FailurePolicy,
    timeout: FailurePolicy,
    limit: FailurePolicy,
}

impl Default for FailureFile {
    fn default() -> Self {
        Self::All(FailurePolicy::default())
    }
}

impl Spec {
    /// A policy that is a module alone, with defaults.
    pub(super) fn of_module(name: &str, module: &Path) -> Self {
        Self {
            name: name.into(),
            file: module.to_owned(),
            module: module.to_owned(),
            digest: None,
            settings: "{}".into(),
            matching: Match::default(),
            mode: Mode::default(),
            failure: FailurePolicies::default(),
            limits: Limits::default(),
            grants: BTreeSet::new(),
            types: TypeGrant::default(),
            required: false,
            on_conflict: OnConflict::default(),
        }
    }

    /// Reads the text of a configuration.
    ///
    /// # Errors
    /// [`Error::Syntax`] or [`Error::Value`], naming file and key.
    pub(super) fn parse(
        name: &str,
        file: &Path,
        text: &str,
        module_dir: &Path,
    ) -> Result<Self, Error> {
        let wrong = |key: &str, reason: String| Error::Value {
            path: file.to_owned(),
            key: key.to_owned(),
            reason,
        };
        let read = read(text).map_err(|(key, source)| Error::Syntax {
            path: file.to_owned(),
            key,
            source,
        })?;
        let module = read.module.unwrap_or_else(|| format!("{name}.wasm"));
        if module.contains('/') || matches!(module.as_str(), "" | "." | "..") {
            let reason = format!(
                "{module:?} is not the plain name of a file in {}",
                module_dir.display()
            );
            return Err(wrong("module", reason));
        }
        if let Some(digest) = &read.digest
            && !is_digest(digest)
        {
            return Err(wrong(
                "digest",
                format!("{digest:?} is not sha256: and 64 digits of lower-case hexadecimal"),
            ));
        }
        if let Some((key, pattern)) = read.r#match.misplaced() {
            return Err(wrong(
                key,
                format!("{pattern:?}: '*' may stand at the end alone, and a pattern is not empty"),
            ));
        }
        let limits = read
            .limits
            .limits()
            .map_err(|(key, reason)| wrong(&key, reason))?;
        if read.grants.contains(&Grant::ChangeType) == read.allow_types.is_empty() {
            return Err(wrong(
                "allowTypes",
                "goes together with the grant change-type".to_owned(),
            ));
        }
        if read.required && read.mode == Mode::Off {
            let reason = "a policy that is off cannot be required".to_owned();
            return Err(wrong("required", reason));
        }
        for name in &read.allow_types {
            cni_types::args::PluginType::new(name)
                .map_err(|error| wrong("allowTypes", error.to_string()))?;
        }
        let settings = match read.settings.as_deref().map(RawValue::get) {
            None | Some("null") => "{}",
            Some(settings) => settings,
        };
        Ok(Self {
            digest: read.digest,
            settings: settings.into(),
            matching: read.r#match,
            mode: read.mode,
            failure: match read.failure_policy {
                FailureFile::All(policy) => FailurePolicies::all(policy),
                FailureFile::Each(FailureEach {
                    load,
                    trap,
                    timeout,
                    limit,
                }) => FailurePolicies {
                    load,
                    trap,
                    timeout,
                    limit,
                },
            },
            limits,
            grants: read.grants,
            types: TypeGrant(read.allow_types),
            required: read.required,
            on_conflict: read.on_conflict,
            file: file.to_owned(),
            ..Self::of_module(name, &module_dir.join(module))
        })
    }
}

/// Reads the text, or says which key is wrong and how.
fn read(text: &str) -> Result<File, (String, serde_json::Error)> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| (error.path().to_string(), error.into_inner()))?;
    json.end().map_err(|error| (String::new(), error))?;
    Ok(read)
}

fn is_digest(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.strip_prefix("sha256:")
        .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Spec, String> {
        Spec::parse("10-x", Path::new("/etc/10-x.json"), text, Path::new("/lib")).map_err(|error| {
            let mut message = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                message = format!("{message}: {source}");
            }
            message
        })
    }

    #[test]
    fn an_empty_configuration_has_the_defaults() {
        let spec = parse("{}").unwrap();
        assert_eq!(spec.module, Path::new("/lib/10-x.wasm"));
        assert_eq!(&*spec.settings, "{}");
        assert_eq!(spec.mode, Mode::Enforce);
        assert_eq!(spec.limits, Limits::default());
        assert!(spec.failure.closed(Cause::Timeout));
        assert!(!spec.required);
    }

    #[test]
    fn everything_can_be_given() {
        let spec = parse(
            r#"{"module":"x.wasm","settings":{"big":12345678901234567890},"mode":"audit",
                "failurePolicy":{"timeout":"open"},"limits":{"timeoutMs":5},"required":true,
                "grants":["clock","change-type"],"allowTypes":["ptp"],"onConflict":"keep",
                "match":{"verbs":["ADD"],"namespaces":["a*"]}}"#,
        )
        .unwrap();
        assert_eq!(spec.module, Path::new("/lib/x.wasm"));
        assert_eq!(&*spec.settings, r#"{"big":12345678901234567890}"#);
        assert_eq!(spec.mode, Mode::Audit);
        assert!(!spec.failure.closed(Cause::Timeout));
        assert!(spec.failure.closed(Cause::Trap));
        assert_eq!(spec.limits.timeout_ms, 5);
        assert_eq!(spec.grants, [Grant::Clock, Grant::ChangeType].into());
        assert_eq!(spec.on_conflict, OnConflict::Keep);
    }

    #[test]
    fn errors_name_file_and_key() {
        let check = |text: &str, parts: &[&str]| {
            let message = parse(text).unwrap_err();
            for part in parts.iter().chain(&["/etc/10-x.json"]) {
                assert!(message.contains(part), "{text}: {message}: {part}");
            }
        };
        check("", &["EOF"]);
        check(r#"{"modul":"x"}"#, &["unknown field `modul`", "`module`"]);
        check(
            r#"{"match":{"podLabel":{}}}"#,
            &["unknown field `podLabel`"],
        );
        check(
            r#"{"match":{"verbs":["add"]}}"#,
            &["unknown variant `add`", "`ADD`"],
        );
        check(
            r#"{"limits":{"timeout":5}}"#,
            &["unknown field `timeout`", "`timeoutMs`"],
        );
        check(
            r#"{"limits":{"timeoutMs":0}}"#,
            &["limits.timeoutMs", "1 to 10000"],
        );
        check(
            r#"{"limits":{"memoryBytes":99999999999}}"#,
            &["limits.memoryBytes", "1073741824"],
        );
        check(
            r#"{"grants":["root"]}"#,
            &["unknown variant `root`", "`clock`"],
        );
        check(r#"{"failurePolicy":"ajar"}"#, &["\"closed\", \"open\""]);
        check(
            r#"{"failurePolicy":{"crash":"open"}}"#,
            &["load, trap, timeout and limit"],
        );
        check(r#"{"mode":7}"#, &["10-x.json: mode", "line 1"]);
        check(
            r#"{"limits":{"logLines":"many"}}"#,
            &["10-x.json: limits.logLines", "string \"many\"", "u64"],
        );
        check(
            r#"{"match":{"namespaces":"shop"}}"#,
            &[
                "10-x.json: match.namespaces",
                "string \"shop\"",
                "a sequence",
            ],
        );
        check(r#"{"grants":["clock",7]}"#, &["10-x.json: grants[1]"]);
        check("{} {}", &["trailing characters"]);
        check(
            r#"{"required":true,"mode":"off"}"#,
            &["10-x.json: required", "off"],
        );
        check(
            r#"{"module":"../x.wasm"}"#,
            &["module", "plain name", "/lib"],
        );
        check(r#"{"digest":"sha256:abc"}"#, &["digest", "64 digits"]);
        check(r#"{"allowTypes":["ptp"]}"#, &["allowTypes", "change-type"]);
        check(r#"{"grants":["change-type"]}"#, &["allowTypes"]);
        check(
            r#"{"grants":["change-type"],"allowTypes":["a/b"]}"#,
            &["allowTypes"],
        );
        check(
            r#"{"match":{"namespaces":["a*b"]}}"#,
            &["match.namespaces", "a*b"],
        );
    }
}
