use super::*;
use serde_json::json;

fn found(schema: &Value, settings: &str) -> Option<String> {
    let fault = check(schema, settings).err()?;
    let at = settings.get(fault.offset..).unwrap();
    let at: String = at.chars().take(4).collect();
    Some(format!("{} {}: {}", at, fault.pointer, fault.reason))
}

#[test]
fn settings_are_checked_with_their_place() {
    let schema = json!({
        "type": "object",
        "properties": {
            "mtu": {"type": "integer", "minimum": 1280, "maximum": 65535},
            "search": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 2},
            "mode": {"enum": ["allow", "deny"]},
            "by": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
            "maybe": {"anyOf": [{"type": "integer", "maximum": 3}, {"type": "null"}]},
        },
        "required": ["mtu"],
        "additionalProperties": false,
    });
    let check = |settings: &str, expected: &str| {
        let found = found(&schema, settings).unwrap_or_default();
        assert_eq!(found, expected, "{settings}");
    };
    check(
        r#"{"mtu":1500,"search":["a"],"by":{"x":null},"maybe":null}"#,
        "",
    );
    check("[1]", "[1] /settings: expected object, found array");
    check("{ }", "{ } /settings/mtu: is missing");
    check(
        r#"{"mtu": 1.5}"#,
        "1.5} /settings/mtu: expected integer, found number",
    );
    check(
        r#"{"mtu":70000}"#,
        "7000 /settings/mtu: 70000 is more than 65535",
    );
    check(
        r#"{"mtu":1500,"serach":[]}"#,
        r#""ser /settings/serach: unknown key; did you mean "search"?"#,
    );
    check(
        r#"{"mtu":1500,"q":[]}"#,
        r#""q": /settings/q: unknown key; known are by, maybe, mode, mtu, search"#,
    );
    check(
        r#"{"mtu":1500,"search":["a",""]}"#,
        r#"""]} /settings/search/1: 0 characters is less than 1"#,
    );
    check(
        r#"{"mtu":1500,"search":[ "a","b","c"]}"#,
        r#"[ "a /settings/search: 3 elements is more than 2"#,
    );
    check(
        r#"{"mtu":1500,"mode":"alow"}"#,
        r#""alo /settings/mode: unknown value; did you mean "allow"?"#,
    );
    check(
        r#"{"mtu":1500,"by":{"a/b":1}}"#,
        "1}} /settings/by/a~1b: expected string or null, found number",
    );
    check(
        r#"{"mtu":1500,"maybe":7}"#,
        "7} /settings/maybe: 7 is more than 3",
    );
    check(
        r#"{"mtu":1500,"maybe":""}"#,
        r#"""} /settings/maybe: expected integer or null, found string"#,
    );
}

#[test]
fn unknown_keywords_and_depths_allow_everything() {
    assert_eq!(check(&json!({"oneOf": [false]}), "1"), Ok(()));
    assert_eq!(check(&json!("x"), "1"), Ok(()));
    let (mut schema, mut value) = (json!({"type": "null"}), json!(1));
    for _ in 0..100 {
        schema = json!({"items": schema});
        value = json!([value]);
    }
    assert_eq!(check(&schema, &value.to_string()), Ok(()));
}

#[test]
fn a_hostile_schema_costs_a_bounded_time() {
    let choices: Vec<String> = (0..4_000).map(|index| format!("{index}-choice")).collect();
    let schema = json!({"items": {"enum": choices, "required": choices}});
    let settings = format!("[{}0]", "\"3999-choice\",".repeat(50_000));
    assert_eq!(check(&schema, &settings), Ok(()), "the rest is not checked");
    let all = json!({"anyOf": vec![json!({"anyOf": vec![json!({"type": "null"}); 100]}); 100]});
    let _ = check(
        &json!({"items": all}),
        &format!("[{}1]", "1,".repeat(10_000)),
    );
}
