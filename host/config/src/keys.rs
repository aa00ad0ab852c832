//! Keys of the daemon's file: the known ones, Go's case folding, and suggestions for misspelt ones.

use std::sync::LazyLock;

use cni_types::json::RawObject;
use cnidaria_core::domain::members::similar;

use super::reference;

/// Multus' keys that are read elsewhere, or passed on to the primary network.
const OTHERS: [&str; 9] = [
    "cnidaria",
    "cniVersions",
    "disableCheck",
    "disableGC",
    "dns",
    "ipam",
    "name",
    "perNodeCertificate",
    "prevResult",
];

/// Multus' keys that are accepted and not used.
const NO_EFFECT: [&str; 2] = ["enablePprof", "retryDeleteOnError"];

/// The keys that the file and a CNI conf may have.
static KNOWN: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut known: Vec<_> = reference::top_level().chain(OTHERS).collect();
    known.sort_unstable_by_key(|key| key.to_ascii_lowercase());
    known.dedup();
    known
});

/// The file with its keys in their documented spelling, and warnings about them. Unknown keys stay:
/// the file overlays the CNI conf, which may have keys of other programs.
pub(super) fn canonical(file: &RawObject) -> (RawObject, Vec<String>) {
    let mut keys = RawObject::new();
    let mut warnings = Vec::new();
    for (key, value) in file.iter() {
        let spelling = spelling(key);
        match spelling {
            Spelling::Exact if NO_EFFECT.contains(&key) => {
                warnings.push(format!("key {key:?} has no effect"));
            }
            Spelling::Exact => {}
            Spelling::OtherCase(known) => {
                warnings.push(format!("key {key:?} is taken as {known:?}"));
            }
            Spelling::Unknown(Some(known)) => warnings.push(format!(
                "unknown key {key:?}: it is passed on as it is; did you mean {known:?}?"
            )),
            Spelling::Unknown(None) if reference::own().any(|own| is_below(own, key)) => {
                warnings.push(format!(
                    "unknown key {key:?}: it is passed on as it is; did you mean \"cnidaria.{key}\"?"
                ));
            }
            Spelling::Unknown(None) => {
                warnings.push(format!("unknown key {key:?}: it is passed on as it is"));
            }
        }
        let name = match spelling {
            Spelling::OtherCase(known) => known,
            _ => key,
        };
        keys.set_raw(name, value.to_owned());
    }
    (keys, warnings)
}

/// Whether a dotted path begins with a key.
fn is_below(path: &str, key: &str) -> bool {
    path.split('.').next() == Some(key)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Exact,
    /// Go's decoder is case-insensitive, so files with other spellings work with Multus.
    OtherCase(&'static str),
    Unknown(Option<&'static str>),
}

fn spelling(key: &str) -> Spelling {
    if KNOWN.contains(&key) {
        return Spelling::Exact;
    }
    if let Some(known) = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(key)) {
        return Spelling::OtherCase(known);
    }
    Spelling::Unknown(similar(&KNOWN, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_recognised() {
        for (key, meant) in [
            ("multusConfgFile", "multusConfigFile"),
            ("sockteDir", "socketDir"),
            ("readinessIndicatorFiles", "readinessindicatorfile"),
            ("namespaceisolations", "namespaceIsolation"),
        ] {
            assert_eq!(spelling(key), Spelling::Unknown(Some(meant)), "{key}");
        }
        assert_eq!(spelling("somethingElse"), Spelling::Unknown(None));
    }

    #[test]
    fn own_keys_in_the_wrong_place_are_recognised() {
        let file = RawObject::parse(r#"{"policies":{},"retryDeleteOnError":true}"#);
        let (_, warnings) = canonical(&file.unwrap());
        assert!(
            warnings[0].contains("did you mean \"cnidaria.policies\"?"),
            "{warnings:?}"
        );
        assert_eq!(warnings[1], "key \"retryDeleteOnError\" has no effect");
    }

    #[test]
    fn keys_are_case_insensitive_with_a_warning() {
        let file = RawObject::parse(r#"{"LogToStderr":false,"readinessIndicatorFile":"/x","x":1}"#);
        let (keys, warnings) = canonical(&file.unwrap());
        assert_eq!(keys.get("logToStderr").unwrap().get(), "false");
        assert_eq!(keys.get("readinessindicatorfile").unwrap().get(), "\"/x\"");
        assert_eq!(keys.get("x").unwrap().get(), "1", "unknown keys stay");
        assert_eq!(warnings.len(), 3);
    }
}
