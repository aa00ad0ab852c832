//! One configuration file: a policy's specification without its module.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::FailurePolicies;
use super::members::{Member, Members, Source};
use super::{Error, Limits, Match};
use crate::model::grant::ConfGrant;
use crate::model::grant::Grant;
use crate::model::policy::Mode;
use crate::model::words::words;

/// A policy as the operator configured it: everything but the module's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Determines the policy's order as well.
    pub(crate) name: Arc<str>,
    /// The file that defines the policy.
    pub(crate) file: PathBuf,
    pub(crate) module: PathBuf,
    /// The digest that the module must have, `sha256:…`.
    pub(crate) digest: Option<String>,
    /// The settings as JSON text; `{}` by default.
    pub(crate) settings: Arc<str>,
    /// Which requests the policy sees.
    pub(crate) matching: Match,
    pub(crate) mode: Mode,
    /// What failures mean on ADD and CHECK.
    pub(crate) failure: FailurePolicies,
    pub(crate) limits: Limits,
    pub(crate) grants: BTreeSet<Grant>,
    /// What the policy may change in confs beyond their free members.
    pub(crate) conf: ConfGrant,
    /// Whether STATUS and ADDs fail without the policy, whatever its failure policy says.
    pub(crate) required: bool,
    pub(crate) on_conflict: OnConflict,
}

/// What happens when a policy edits a path that another one set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnConflict {
    /// The request is denied, naming both policies.
    #[default]
    Deny,
    /// The edit is rejected and the policy goes on: the first one wins.
    Keep,
}

words!(OnConflict {
    Deny: "deny",
    Keep: "keep",
});

/// A configuration, read as far as it is well-formed.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The policy; the strictest values replace what is wrong.
    pub(crate) spec: Spec,
    /// What is wrong. A policy with faults is not loaded.
    pub(crate) faults: Vec<Error>,
}

impl Spec {
    /// A module without a configuration: defaults apply.
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
            conf: ConfGrant::default(),
            required: false,
            on_conflict: OnConflict::default(),
        }
    }

    /// A policy of a dry run, which sees no request.
    #[cfg(any(test, feature = "compile"))]
    pub(crate) fn of_dry_run(settings: &str, limits: Limits, grants: BTreeSet<Grant>) -> Self {
        Self {
            settings: settings.into(),
            limits,
            grants,
            ..Self::of_module("dry-run", Path::new(""))
        }
    }

    /// Parses a configuration, each member by itself: what is well-formed is honoured; what is
    /// wrong takes its strictest value and becomes a fault with file and key.
    ///
    /// # Errors
    /// [`Error::Syntax`] if the text is not a JSON object, so that nothing can be honoured.
    pub(crate) fn parse(
        name: &str,
        file: &Path,
        text: &str,
        module_dir: &Path,
    ) -> Result<Draft, Error> {
        let mut members = Members::of_file(Source { file, text })?;
        let module = module(&mut members, name, module_dir);
        let digest = digest(&mut members);
        let settings = match members.read::<&RawValue>("settings").given() {
            None => "{}",
            Some(settings) if settings.get() == "null" => "{}",
            Some(settings) => settings.get(),
        };
        let (matching, _) = members.object("match", Match::read);
        let mut mode = members.read("mode").given().unwrap_or_default();
        let failure = FailurePolicies::read(&mut members);
        let (limits, _) = members.object("limits", Limits::read);
        let (grants, types, append_types) = grants(&mut members);
        let required = members.read("required").given().unwrap_or_default();
        let on_conflict = members.read("onConflict").given().unwrap_or_default();
        if required && mode == Mode::Off {
            members.wrong(
                "required",
                "a policy that is off cannot be required".to_owned(),
            );
            mode = Mode::default();
        }
        let spec = Self {
            digest,
            settings: settings.into(),
            matching: matching.unwrap_or_default(),
            mode,
            failure,
            limits: limits.unwrap_or_default(),
            conf: ConfGrant {
                types,
                append_types,
                grants: grants.clone(),
            },
            grants,
            required,
            on_conflict,
            file: file.to_owned(),
            ..Self::of_module(name, &module_dir.join(module))
        };
        let faults = members.finish();
        Ok(Draft { spec, faults })
    }

    /// Combines two configurations of one policy: what they agree on, and the stricter value
    /// elsewhere. The policy sees every request that either of them matches.
    pub(super) fn strictest(self, other: Self) -> Self {
        let agreed = self.mode == other.mode;
        Self {
            matching: self.matching.or(other.matching),
            mode: if agreed { self.mode } else { Mode::default() },
            failure: self.failure.strictest(other.failure),
            required: self.required || other.required,
            ..self
        }
    }
}

/// Where the settings begin in a configuration's text, in bytes; 0 without any.
pub(crate) fn settings_at(text: &str) -> usize {
    let top: Top<'_> = serde_json::from_str(text).unwrap_or_default();
    top.settings.map_or(0, |raw| {
        (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
    })
}

#[derive(Default, Deserialize)]
struct Top<'a> {
    #[serde(borrow, default)]
    settings: Option<&'a RawValue>,
}

/// The name of the module's file.
fn module(members: &mut Members<'_>, name: &str, module_dir: &Path) -> String {
    let default = || format!("{name}.wasm");
    let given = members.read::<Option<String>>("module").given().flatten();
    let module = given.unwrap_or_else(default);
    if module.contains('/') || matches!(module.as_str(), "" | "." | "..") {
        let dir = match module_dir.as_os_str().is_empty() {
            true => "the directory of modules".to_owned(),
            false => module_dir.display().to_string(),
        };
        members.wrong(
            "module",
            format!("{module:?} is not the plain name of a file in {dir}"),
        );
        return default();
    }
    module
}

fn digest(members: &mut Members<'_>) -> Option<String> {
    let digest = members.read::<Option<String>>("digest").given().flatten()?;
    if !is_digest(&digest) {
        members.wrong(
            "digest",
            format!("{digest:?} is not sha256: and 64 digits of lower-case hexadecimal"),
        );
    }
    Some(digest)
}

/// The grants, the types for `change-type`, and those for `append-plugin`.
fn grants(members: &mut Members<'_>) -> (BTreeSet<Grant>, BTreeSet<String>, BTreeSet<String>) {
    let read = members.read::<BTreeSet<Grant>>("grants");
    let is_known = read != Member::Wrong;
    let grants = read.given().unwrap_or_default();
    let known = is_known.then_some(&grants);
    let types = plugin_types(members, "allowTypes", known, Grant::ChangeType);
    let append = plugin_types(members, "appendTypes", known, Grant::AppendPlugin);
    (grants, types, append)
}

/// The types under a key, which goes together with a grant.
fn plugin_types(
    members: &mut Members<'_>,
    key: &'static str,
    grants: Option<&BTreeSet<Grant>>,
    grant: Grant,
) -> BTreeSet<String> {
    let types = members.read::<BTreeSet<String>>(key);
    let grants = grants.filter(|_| types != Member::Wrong);
    let types = types.given().unwrap_or_default();
    if grants.is_some_and(|grants| grants.contains(&grant) == types.is_empty()) {
        members.wrong(key, format!("goes together with the grant {grant}"));
    }
    for name in &types {
        if let Err(error) = cni_types::args::PluginType::new(name) {
            members.wrong(key, error.to_string());
        }
    }
    types
}

fn is_digest(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.strip_prefix("sha256:")
        .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::report::Cause;

    fn draft(text: &str) -> Result<Draft, Error> {
        Spec::parse("10-x", Path::new("/etc/10-x.json"), text, Path::new("/lib"))
    }

    fn parse(text: &str) -> Result<Spec, String> {
        let draft = draft(text).map_err(|error| {
            let source = std::error::Error::source(&error).unwrap();
            format!("{error}: {source}")
        })?;
        match draft.faults.as_slice() {
            [] => Ok(draft.spec),
            [first, ..] => Err(first.to_string()),
        }
    }

    /// The spec honoured from a configuration with at least one fault.
    fn faulty(text: &str) -> Spec {
        let draft = draft(text).unwrap();
        assert!(!draft.faults.is_empty(), "{text}");
        draft.spec
    }

    #[test]
    fn a_misspelt_key_spoils_no_other() {
        let spec = faulty(
            r#"{"settigs":{},"match":{"namespaces":["shop"]},"mode":"audit",
                "failurePolicy":"open","required":true,"onConflict":"keep"}"#,
        );
        assert_eq!(
            spec.matching,
            parse(r#"{"match":{"namespaces":["shop"]}}"#)
                .unwrap()
                .matching
        );
        assert_eq!(spec.mode, Mode::Audit);
        assert!(!spec.failure.closed(Cause::Load));
        assert!(spec.required);
        assert_eq!(spec.on_conflict, OnConflict::Keep);
    }

    #[test]
    fn malformed_settings_count_as_the_strictest() {
        let spec = faulty(r#"{"match":"shop","failurePolicy":"open"}"#);
        assert_eq!(spec.matching, Match::default());
        assert!(!spec.failure.closed(Cause::Load));
        let spec = faulty(r#"{"match":{"namespaces":["shop"],"nodes":["a"]}}"#);
        assert_eq!(
            spec.matching,
            parse(r#"{"match":{"namespaces":["shop"]}}"#)
                .unwrap()
                .matching
        );
        assert_eq!(faulty(r#"{"mode":"audti"}"#).mode, Mode::Enforce);
        assert_eq!(faulty(r#"{"mode":"off","mode":"off"}"#).mode, Mode::Enforce);
        assert_eq!(faulty(r#"{"mode":"off","modes":1}"#).mode, Mode::Off);
        assert!(!faulty(r#"{"required":"yes"}"#).required);
        let spec = faulty(r#"{"failurePolicy":{"load":"open","crash":"open"}}"#);
        assert!(!spec.failure.closed(Cause::Load));
        assert!(spec.failure.closed(Cause::Trap));
    }

    #[test]
    fn of_many_unknown_keys_a_few_are_named() {
        let many: Vec<String> = (0..20_000)
            .map(|number| format!("\"k{number}\":1"))
            .collect();
        for text in [
            format!("{{{}}}", many.join(",")),
            format!("{{\"match\":{{{}}}}}", many.join(",")),
        ] {
            let faults = draft(&text).unwrap().faults;
            assert_eq!(faults.len(), 17);
            let last = faults.last().unwrap().to_string();
            assert!(
                last.ends_with("k16: unknown key, one of 19984 more"),
                "{last}"
            );
        }
    }

    #[test]
    fn a_misspelt_key_has_a_suggestion() {
        let check = |text: &str, end: &str| {
            let message = parse(text).unwrap_err();
            assert!(message.ends_with(end), "{message}");
        };
        check(
            r#"{"settigs":{}}"#,
            r#": settigs: unknown key; did you mean "settings"?"#,
        );
        check(
            r#"{"failurepolicy":"open"}"#,
            r#"did you mean "failurePolicy"?"#,
        );
        check(
            r#"{"match":{"namespace":[]}}"#,
            r#": match.namespace: unknown key; did you mean "namespaces"?"#,
        );
        check(
            r#"{"failurePolicy":{"crash":"open"}}"#,
            "failurePolicy.crash: unknown key; known are load, trap, timeout, limit",
        );
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
        check(r#"{"modul":"x"}"#, &["modul: unknown key", "\"module\""]);
        check(
            r#"{"match":{"podLabel":{}}}"#,
            &["match.podLabel: unknown key"],
        );
        check(
            r#"{"match":{"verbs":["add"]}}"#,
            &["match.verbs[0]: unknown value", "`ADD`"],
        );
        check(
            r#"{"limits":{"timeout":5}}"#,
            &["limits.timeout: unknown key", "\"timeoutMs\""],
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
            &["grants[0]: unknown value", "`clock`"],
        );
        check(r#"{"failurePolicy":"ajar"}"#, &["`closed`", "`open`"]);
        check(
            r#"{"failurePolicy":{"crash":"open"}}"#,
            &["load, trap, timeout, limit"],
        );
        check(r#"{"mode":7}"#, &["10-x.json: mode", "line 1"]);
        check(
            r#"{"limits":{"logLines":"many"}}"#,
            &["10-x.json: limits.logLines", "type: string", "whole number"],
        );
        check(
            r#"{"match":{"namespaces":"shop"}}"#,
            &["10-x.json: match.namespaces", "type: string", "a list"],
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
            r#"{"appendTypes":["tuning"]}"#,
            &["appendTypes", "append-plugin"],
        );
        check(r#"{"grants":["append-plugin"]}"#, &["appendTypes"]);
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
