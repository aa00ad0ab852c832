//! Objects whose values stay text.

#![cfg(test)]

use cni_types::json::{Error, RawObject};
use proptest::prelude::*;

fn object(text: &str) -> RawObject {
    RawObject::parse(text).expect(text)
}

#[test]
fn values_keep_order_whitespace_and_digits() {
    let text = r#"{"z":{"b" : 1e3, "a":[ 2.50,12345678901234567890 ]},"a":-0.0}"#;
    assert_eq!(object(text).to_string(), text);
}

#[test]
fn set_replaces_in_place_or_appends() {
    let mut raw = object(r#"{"a":1,"name":"old","b":2}"#);
    raw.set("name", "new").unwrap();
    raw.set("last", &[1, 2]).unwrap();
    assert_eq!(
        raw.to_string(),
        r#"{"a":1,"name":"new","b":2,"last":[1,2]}"#
    );
    assert_eq!(raw.remove("a").unwrap().get(), "1");
    assert!(raw.remove("a").is_none());
    assert_eq!(raw.len(), 3);
}

#[test]
fn many_members_are_set_as_each_one_is() {
    let members = [("b", "1"), ("new", "2"), ("a", "3"), ("new", "4")];
    let value = |text: &str| serde_json::value::RawValue::from_string(text.to_owned()).unwrap();
    let mut one_by_one = object(r#"{"a":0,"b":0}"#);
    let mut at_once = one_by_one.clone();
    for (key, text) in members {
        one_by_one.set_raw(key, value(text));
    }
    at_once.extend(members.map(|(key, text)| (key, value(text))));
    assert_eq!(at_once, one_by_one);
    assert_eq!(at_once.to_string(), r#"{"a":3,"b":1,"new":4}"#);
}

#[test]
fn of_duplicate_keys_the_last_one_wins() {
    assert_eq!(
        object(r#"{"a":1,"b":2,"a":3,"\u0061":4}"#).to_string(),
        r#"{"b":2,"a":4}"#
    );
}

#[test]
fn null_and_missing_are_none_wrong_types_fail() {
    let raw = object(r#"{"a":null,"b":"text"}"#);
    assert_eq!(raw.get_as::<u32>("a").unwrap(), None);
    assert_eq!(raw.get_as::<u32>("c").unwrap(), None);
    assert!(raw.contains_key("a"));
    let error = raw.get_as::<u32>("b").unwrap_err();
    assert!(matches!(&error, Error::Member { key, .. } if key == "b"));
}

#[test]
fn json_other_than_an_object_is_rejected() {
    for text in ["", "{", "{} x", "{\"a\":}", "{a:1}", "\u{feff}{}"] {
        assert!(
            matches!(RawObject::parse(text), Err(Error::Syntax { .. })),
            "{text}"
        );
    }
    for text in ["[]", "null", "1", "\"{}\""] {
        assert!(
            matches!(RawObject::parse(text), Err(Error::NotAnObject)),
            "{text}"
        );
    }
    assert!(RawObject::parse(b"{\"a\":\"\xff\"}").is_err());
}

#[test]
fn deep_nesting_and_many_keys_are_parsed() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(object(&deep).to_string(), deep);
    let members: Vec<String> = (0..100_000)
        .map(|n| format!("\"k{}\":{n}", n % 7))
        .collect();
    assert_eq!(object(&format!("{{{}}}", members.join(","))).len(), 7);
}

#[test]
fn a_raw_object_can_be_part_of_other_types() {
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Outer {
        inner: RawObject,
    }
    let text = r#"{"inner":{"n":12345678901234567890,"a":{}}}"#;
    let outer: Outer = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&outer).unwrap(), text);
}

proptest! {
    #[test]
    fn printing_and_parsing_gives_the_same_object(
        members in prop::collection::vec((".*", prop_oneof!["-?(0|[1-9][0-9]{0,30})", Just("[ ]".to_owned()), Just("{\"x\" :null}".to_owned())]), 0..8)
    ) {
        let mut raw = RawObject::new();
        for (key, value) in &members {
            raw.set_raw(key, serde_json::value::RawValue::from_string(value.clone()).unwrap());
        }
        let printed = raw.to_string();
        let again = RawObject::parse(&printed).unwrap();
        prop_assert_eq!(&again, &raw);
        prop_assert_eq!(again.to_string(), printed);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = RawObject::parse(&bytes);
    }
}
