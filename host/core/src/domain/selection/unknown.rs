//! Finds unknown keys in the annotation's elements. Multus skips them silently, so a misspelt key
//! loses its request; here they are skipped too, but with a warning.

use cni_types::json::RawObject;
use serde_json::value::RawValue;

use super::super::limits::Limits;
use super::super::members::UnknownMembers;
use super::super::runtime_config::{BANDWIDTH_MEMBERS, PORT_MAPPING_MEMBERS};
use super::json;

/// The unknown keys of an annotation, including port mappings and bandwidth limits. Empty if it is
/// a comma list, malformed or exceeds a limit.
pub(crate) fn unknown_members(annotation: &str, limits: &Limits) -> UnknownMembers {
    let mut unknown = UnknownMembers::default();
    if !annotation.contains('{') || limits.check_annotation(annotation).is_err() {
        return unknown;
    }
    let elements: Vec<&RawValue> = serde_json::from_str(annotation).unwrap_or_default();
    if limits.check_networks(elements.len()).is_err() {
        return unknown;
    }
    for (index, element) in elements.into_iter().enumerate() {
        let Ok(object) = RawObject::from_value(element) else {
            continue;
        };
        let place = format!("element {} ({})", index + 1, json::label(element));
        unknown.note(&place, "", keys(&object), &json::MEMBERS);
        for (key, value) in object.iter() {
            if key.eq_ignore_ascii_case(json::BANDWIDTH) {
                let above = format!("{}.", json::BANDWIDTH);
                note(&mut unknown, &place, &above, value, &BANDWIDTH_MEMBERS);
            }
            if key.eq_ignore_ascii_case(json::PORT_MAPPINGS) {
                let mappings: Vec<&RawValue> =
                    serde_json::from_str(value.get()).unwrap_or_default();
                for (at, mapping) in mappings.into_iter().enumerate() {
                    let above = format!("{}[{at}].", json::PORT_MAPPINGS);
                    note(&mut unknown, &place, &above, mapping, &PORT_MAPPING_MEMBERS);
                }
            }
        }
    }
    unknown
}

fn note(
    unknown: &mut UnknownMembers,
    place: &str,
    above: &str,
    value: &RawValue,
    names: &[&'static str],
) {
    if let Ok(object) = RawObject::from_value(value) {
        unknown.note(place, above, keys(&object), names);
    }
}

fn keys(object: &RawObject) -> impl Iterator<Item = &str> {
    object.iter().map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(annotation: &str) -> Vec<(String, Option<&'static str>)> {
        let unknown = unknown_members(annotation, &Limits::default())
            .first
            .into_iter();
        unknown.map(|one| (one.member, one.meant)).collect()
    }

    #[test]
    fn unknown_members_are_found_at_every_depth() {
        let annotation = r#"[{"name":"n","Interface":"a0","interfac":"b0","cni-args":{"x":1},
            "bandwidth":{"ingresRate":1,"EgressRate":2},"portMappings":[{"hostPort":1,"port":2}]}]"#;
        assert_eq!(
            members(annotation),
            [
                ("interfac".to_owned(), Some("interface")),
                ("bandwidth.ingresRate".to_owned(), Some("ingressRate")),
                ("portMappings[0].port".to_owned(), None),
            ]
        );
    }

    #[test]
    fn elements_are_named_by_position_and_network() {
        let annotation = r#"[{"name":"n"},{"name":"m","ip":["10.0.0.1"]}]"#;
        assert_eq!(
            unknown_members(annotation, &Limits::default()).to_string(),
            r#"element 2 (m): unknown member "ip", did you mean "ips"?"#
        );
    }

    #[test]
    fn what_cannot_be_read_has_no_unknown_members() {
        for annotation in [
            "a,b",
            "[{",
            "{}",
            "[null,7]",
            r#"[{"bandwidth":7,"portMappings":{}}]"#,
        ] {
            assert!(
                unknown_members(annotation, &Limits::default()).is_empty(),
                "{annotation}"
            );
        }
    }
}
