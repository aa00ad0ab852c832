//! Trees edited by pointer.

#![cfg(test)]

use cni_types::json::{Document, Error, Limits, Node, Pointer};
use proptest::prelude::*;

fn document(text: &str) -> Document {
    Document::parse(text, Limits::default()).expect(text)
}

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).expect(text)
}

#[track_caller]
fn check_set(before: &str, at: &str, value: &str, after: &str) {
    let mut document = document(before);
    document.set(&pointer(at), value).unwrap();
    assert_eq!(document.to_string(), after);
}

#[test]
fn rfc_6901_example_pointers_resolve() {
    let document = document(
        r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#,
    );
    for (at, value) in [
        ("/foo", "[\"bar\",\"baz\"]"),
        ("/foo/0", "\"bar\""),
        ("/", "0"),
        ("/a~1b", "1"),
        ("/c%d", "2"),
        ("/e^f", "3"),
        ("/g|h", "4"),
        ("/i\\j", "5"),
        ("/k\"l", "6"),
        ("/ ", "7"),
        ("/m~0n", "8"),
    ] {
        assert_eq!(
            document.get(&pointer(at)).expect(at).to_string(),
            value,
            "{at}"
        );
    }
    assert_eq!(document.get(&Pointer::root()), Some(document.root()));
    for at in ["/foo/2", "/foo/00", "/foo/-", "/foo/+1", "/x", "/foo/0/x"] {
        assert!(document.get(&pointer(at)).is_none(), "{at}");
    }
}

#[test]
fn malformed_pointers_are_refused() {
    for text in ["a", "/a~", "/~2", " /a"] {
        assert!(
            matches!(Pointer::parse(text), Err(Error::Pointer { .. })),
            "{text}"
        );
    }
}

#[test]
fn setting_replaces_adds_and_appends() {
    check_set(r#"{"a":1,"b":2}"#, "/a", " 1e3 ", r#"{"a":1e3,"b":2}"#);
    check_set(r#"{"a":1}"#, "/b", "[ 2.50 ]", r#"{"a":1,"b":[2.50]}"#);
    check_set(r#"{"a":[1,2]}"#, "/a/0", "9", r#"{"a":[9,2]}"#);
    check_set(r#"{"a":[1,2]}"#, "/a/-", "3", r#"{"a":[1,2,3]}"#);
    check_set(r#"{"a":[1,2]}"#, "/a/2", "3", r#"{"a":[1,2,3]}"#);
    check_set("1", "", "12345678901234567890", "12345678901234567890");
    check_set("{}", "/a~1b", "\"\\u0061\"", r#"{"a/b":"\u0061"}"#);
}

#[test]
fn failed_set_changes_nothing() {
    let before = r#"{"a":[1],"s":"x"}"#;
    let mut document = document(before);
    let mut fails = |at: &str, value: &str| document.set(&pointer(at), value).unwrap_err();
    assert!(matches!(fails("/x/y", "1"), Error::MissingParent { pointer } if pointer == "/x"));
    assert!(matches!(fails("/s/y", "1"), Error::NotAContainer { pointer } if pointer == "/s"));
    assert!(matches!(fails("/a/2", "1"), Error::Index { len: 1, .. }));
    assert!(matches!(fails("/a/x", "1"), Error::Index { len: 1, .. }));
    assert!(matches!(fails("/a/0", "{"), Error::Syntax { .. }));
    assert!(matches!(fails("/a/0", "1 2"), Error::Syntax { .. }));
    assert_eq!(document.to_string(), before);
}

#[test]
fn removing_returns_what_was_there() {
    let mut document = document(r#"{"a":[1,2,3],"b":null}"#);
    assert_eq!(document.remove(&pointer("/a/1")).unwrap().to_string(), "2");
    assert_eq!(document.remove(&pointer("/b")).unwrap().to_string(), "null");
    assert_eq!(document.to_string(), r#"{"a":[1,3]}"#);
    for at in ["", "/a/2", "/a/-", "/b", "/b/c"] {
        assert!(
            matches!(document.remove(&pointer(at)), Err(Error::NotFound { .. })),
            "{at}"
        );
    }
}

#[test]
fn limits_hold_when_reading_and_when_editing() {
    let limits = Limits {
        max_bytes: 20,
        max_depth: 3,
    };
    assert!(matches!(
        Document::parse("[[[[]]]]", limits),
        Err(Error::TooDeep { limit: 3 })
    ));
    assert!(matches!(
        Document::parse(&" ".repeat(21), limits),
        Err(Error::TooLarge { bytes: 21, .. })
    ));
    let mut document = Document::parse(r#"{"a":{"b":1}}"#, limits).unwrap();
    assert!(matches!(
        document.set(&pointer("/a/b"), "[[]]"),
        Err(Error::TooDeep { .. })
    ));
    document.set(&pointer("/a/b"), "[]").unwrap();
    assert!(matches!(
        document.set(&pointer("/c"), "\"123456\""),
        Err(Error::TooLarge { limit: 20, .. })
    ));
    assert_eq!(document.to_string(), r#"{"a":{"b":[]}}"#);
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(matches!(
        Document::parse(&deep, Limits::default()),
        Err(Error::TooDeep { .. })
    ));
}

#[test]
fn equality_is_about_meaning() {
    assert_eq!(
        document(r#"{"a":"\u0062","c":[1]}"#),
        document(r#"{ "c":[ 1 ], "a":"b" }"#)
    );
    for (a, b) in [
        ("1", "1.0"),
        ("\"1\"", "1"),
        ("[1,2]", "[2,1]"),
        (r#"{"a":1}"#, r#"{"a":1,"b":1}"#),
        ("12345678901234567890", "12345678901234567891"),
    ] {
        assert_ne!(document(a), document(b), "{a} {b}");
    }
}

fn any_json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,3})?(e[+-]?[0-9]{1,2})?",
        "[a-c~/\"\\\\é]{0,4}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    scalar.prop_recursive(4, 32, 5, |inner| {
        let key = "[a-c~/\"\\\\]{0,2}".prop_map(|text| serde_json::to_string(&text).unwrap());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|elements| format!("[ {} ]", elements.join(" ,\n"))),
            prop::collection::vec((key, inner), 0..5).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(k, v)| format!("{k} : {v}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn printing_and_parsing_gives_the_same_tree(text in any_json()) {
        let read = document(&text);
        let again = document(&read.to_string());
        prop_assert_eq!(&again, &read);
        prop_assert_eq!(again.to_string(), read.to_string());
    }

    #[test]
    fn what_is_read_is_what_serde_json_reads(text in any_json()) {
        let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
        let read: serde_json::Value = serde_json::from_str(&document(&text).to_string()).unwrap();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn what_was_set_is_found(text in any_json(), value in any_json(), key in "[a-c~/]{0,3}") {
        let mut read = document(&text);
        let at = Pointer::root().child(key);
        if read.set(&at, &value).is_ok() && matches!(read.root(), Node::Object(_)) {
            let value = document(&value);
            prop_assert_eq!(read.get(&at), Some(value.root()));
            read.remove(&at).unwrap();
            prop_assert!(read.get(&at).is_none());
        }
    }

    #[test]
    fn the_length_is_that_of_the_text(
        text in any_json(),
        edits in prop::collection::vec(("(/[a-c0-2~1-]{0,2}){0,3}", prop::option::of(any_json())), 0..6),
    ) {
        let mut edited = document(&text);
        for (at, value) in edits {
            let Ok(at) = Pointer::parse(&at) else { continue };
            let _ = match value {
                Some(value) => edited.set(&at, &value).map(|_| ()),
                None => edited.remove(&at).map(|_| ()),
            };
            prop_assert_eq!(edited.text_len(), edited.to_string().len());
        }
    }

    #[test]
    fn a_pointer_is_printed_as_it_is_read(tokens in prop::collection::vec(".{0,5}", 0..4)) {
        let built = tokens.iter().fold(Pointer::root(), |at, token| at.child(token.as_str()));
        prop_assert_eq!(Pointer::parse(&built.to_string()).unwrap(), built);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,40}") {
        let _ = Document::parse(&text, Limits::default());
        let _ = Pointer::parse(&text);
    }
}
