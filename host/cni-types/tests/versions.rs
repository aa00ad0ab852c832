//! Versions of the specification.

#![cfg(test)]

use cni_types::version::{ConfVersion, Error, Version, VersionInfo};
use proptest::prelude::*;

#[test]
fn versions_round_trip_and_are_ordered() {
    for version in Version::ALL {
        assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        let json = format!("\"{version}\"");
        assert_eq!(serde_json::from_str::<Version>(&json).unwrap(), version);
        assert_eq!(serde_json::to_string(&version).unwrap(), json);
    }
    assert!(Version::ALL.is_sorted());
    assert_eq!(Version::ALL.last(), Some(&Version::LATEST));
}

#[test]
fn commands_exist_from_their_version_on() {
    let from = |supports: fn(Version) -> bool| {
        let first = Version::ALL.into_iter().find(|v| supports(*v)).unwrap();
        assert!(
            Version::ALL
                .into_iter()
                .all(|v| supports(v) == (v >= first))
        );
        first.to_string()
    };
    assert_eq!(from(Version::supports_check), "0.4.0");
    assert_eq!(from(Version::del_has_prev_result), "0.4.0");
    assert_eq!(from(Version::supports_gc), "1.1.0");
    assert_eq!(from(Version::supports_status), "1.1.0");
}

#[test]
fn unknown_versions_differ_from_malformed_ones() {
    for (text, newer) in [
        ("9.9.9", true),
        ("1.1.1", true),
        ("0.3.2", false),
        ("0.0.0", false),
    ] {
        assert_eq!(
            text.parse::<Version>(),
            Err(Error::Unsupported {
                version: text.to_owned(),
                newer
            })
        );
    }
    for text in [
        "", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.0 ", "1.0.x", "-1.0.0", "1..0",
    ] {
        assert!(
            matches!(text.parse::<Version>(), Err(Error::Malformed { .. })),
            "{text:?}"
        );
    }
}

#[test]
fn missing_version_means_0_1_0() {
    let missing = ConfVersion::parse("").unwrap();
    assert_eq!(missing, ConfVersion::MISSING);
    assert_eq!(missing.effective(), Version::V0_1_0);
    assert_eq!(missing.as_str(), "");
    let declared = ConfVersion::parse("0.4.0").unwrap();
    assert_eq!(declared.effective(), Version::V0_4_0);
    assert_eq!(declared.as_str(), "0.4.0");
}

#[test]
fn version_response_matches_go_library() {
    assert_eq!(
        serde_json::to_string(&VersionInfo::all()).unwrap(),
        r#"{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}"#
    );
}

#[test]
fn answers_to_version_are_read() {
    let parse = |text: &str| VersionInfo::parse(text.as_bytes());
    let future = parse(r#"{"cniVersion":"2.0.0","supportedVersions":["1.0.0","2.0.0"]}"#).unwrap();
    assert!(future.supports(Version::V1_0_0));
    assert!(!future.supports(Version::V1_1_0));
    let old = parse(r#"{"cniVersion":"0.2.0"}"#).unwrap();
    assert_eq!(old.supported_versions, ["0.1.0", "0.2.0"]);
    for text in [
        "",
        "{}",
        r#"{"cniVersion":""}"#,
        r#"{"cniVersion":"0.3.0"}"#,
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn only_known_versions_are_accepted(text in "[0-9.]{0,8}") {
        if let Ok(version) = text.parse::<Version>() {
            prop_assert_eq!(version.as_str(), text);
        }
    }

    #[test]
    fn an_answer_to_version_is_printed_as_it_is_read(
        cni_version in "[0-9.]{1,8}",
        supported_versions in prop::collection::vec("[0-9.]{1,8}", 1..5),
    ) {
        let info = VersionInfo { cni_version, supported_versions };
        let printed = serde_json::to_vec(&info).unwrap();
        prop_assert_eq!(VersionInfo::parse(&printed).unwrap(), info);
    }

    #[test]
    fn no_answer_to_version_makes_the_parser_panic(text in "[{}\\[\\]\":,a-zA-Z0-9.]{0,60}") {
        let _ = VersionInfo::parse(text.as_bytes());
    }
}
