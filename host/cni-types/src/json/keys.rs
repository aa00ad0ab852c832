//! Keys as Go's decoder compares them: plugins ignore the case of their members.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Node;

/// A key as Go's decoder compares it, including the letters beyond ASCII that fold to ASCII ones.
pub fn folded(key: &str) -> Cow<'_, str> {
    if key
        .bytes()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
    {
        return key.into();
    }
    key.chars().map(fold).collect::<String>().into()
}

/// Whether a key folds to `other`, which is already folded.
pub fn folds_to(key: &str, other: &str) -> bool {
    if key.len() == other.len() {
        // Letters beyond ASCII that fold to ASCII ones take more bytes.
        return key.eq_ignore_ascii_case(other);
    }
    key.len() > other.len() && !key.is_ascii() && key.chars().map(fold).eq(other.chars())
}

fn fold(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    }
}

/// Two members of one object, at any depth, that Go's decoder takes for the same: which one counts
/// depends on the reader.
pub fn twins(node: &Node) -> Option<[&str; 2]> {
    match node {
        Node::Scalar(_) => None,
        Node::Array(elements) => elements.iter().find_map(twins),
        Node::Object(members) => {
            let mut seen = HashMap::with_capacity(members.len());
            let own = members.iter().find_map(|(key, _)| {
                let first: &str = seen.insert(folded(key), key.as_str())?;
                Some([first, key])
            });
            own.or_else(|| members.iter().find_map(|(_, value)| twins(value)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Limits;

    #[test]
    fn letters_that_fold_to_ascii_are_compared() {
        for (key, other, expected) in [
            ("vlan", "vlan", true),
            ("VLAN", "vlan", true),
            ("ma\u{17f}ter", "master", true),
            ("lin\u{212a}s", "links", true),
            ("vlans", "vlan", false),
            ("vl\u{e4}n", "vlan", false),
        ] {
            assert_eq!(folds_to(key, other), expected, "{key}");
            assert_eq!(folded(key) == other, expected, "{key}");
        }
    }

    #[test]
    fn twins_are_found_at_any_depth() {
        for (text, expected) in [
            (r#"{"vlan":1,"VLAN":2}"#, Some(["vlan", "VLAN"])),
            (r#"{"a":[{"x":{"Mac":1,"mac":2}}]}"#, Some(["Mac", "mac"])),
            (r#"{"a":{"mac":1},"b":{"MAC":1},"mac":1}"#, None),
            (r#"{"n":1e999,"k":1,"K":2}"#, Some(["k", "K"])),
        ] {
            let node = Node::parse(text, Limits::default()).unwrap();
            assert_eq!(twins(&node), expected, "{text}");
        }
    }
}
