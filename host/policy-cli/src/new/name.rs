//! Names of projects, which become names of crates, packages and policies.

use super::Error;

/// Longest name; the policy's name on the node has a number before it.
const LONGEST: usize = 64;

/// Names that a crate cannot have: keywords, and crates that every program links.
const RESERVED: [&str; 48] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "type",
    "while",
];

/// A valid name: lower-case letters, digits and single dashes, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Error::Name`] with the reason.
    pub(crate) fn new(name: &str) -> Result<Self, Error> {
        match Self::fault(name) {
            None => Ok(Self(name.to_owned())),
            Some(reason) => {
                let similar = similar(name);
                let hint = match Self::fault(&similar) {
                    None => format!("; did you mean {similar:?}?"),
                    Some(_) => String::new(),
                };
                Err(Error::Name {
                    name: name.to_owned(),
                    reason: format!("{reason}{hint}"),
                })
            }
        }
    }

    /// The rule that a name breaks.
    fn fault(name: &str) -> Option<&'static str> {
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > LONGEST {
            return Some("a name has 1 to 64 characters");
        }
        if !name.bytes().all(known) {
            return Some("a name has lower-case letters, digits and dashes");
        }
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Some("a name begins with a letter");
        }
        // Each word of a name in WIT begins with a letter.
        let begins_badly = |word: &str| !word.starts_with(|c: char| c.is_ascii_lowercase());
        if name.split('-').any(begins_badly) {
            return Some("each word between dashes begins with a letter");
        }
        if RESERVED.contains(&name) || name.starts_with("cnidaria-guest") {
            return Some("the name is reserved in Rust");
        }
        None
    }

    /// The name as given.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the crate, with underscores.
    pub(crate) fn as_crate(&self) -> String {
        self.0.replace('-', "_")
    }

    /// The name of the policy's type, in camel case.
    pub(crate) fn as_type(&self) -> String {
        self.0
            .split('-')
            .map(|word| {
                let (first, rest) = word.split_at(word.len().min(1));
                first.to_uppercase() + rest
            })
            .collect()
    }
}

/// The name in lower case, with dashes between words.
fn similar(name: &str) -> String {
    let mut similar = String::new();
    let mut was_lower = false;
    for character in name.chars() {
        // A word of camel case begins.
        if character.is_ascii_uppercase() && was_lower {
            similar.push('-');
        }
        was_lower = character.is_ascii_lowercase() || character.is_ascii_digit();
        match character {
            c if c.is_ascii_alphanumeric() => similar.push(c.to_ascii_lowercase()),
            _ if similar.ends_with('-') => {}
            _ => similar.push('-'),
        }
    }
    similar.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_crates_and_types() {
        let name = Name::new("vlan-guard2").unwrap();
        assert_eq!(name.as_crate(), "vlan_guard2");
        assert_eq!(name.as_type(), "VlanGuard2");
    }

    #[test]
    fn a_similar_name_is_suggested() {
        let check = |name: &str, meant: &str| {
            let error = Name::new(name).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("did you mean {meant:?}?")),
                "{error}"
            );
        };
        check("vlan_guard", "vlan-guard");
        check("VlanGuard", "vlan-guard");
        check("Vlan Guard.", "vlan-guard");
        let error = Name::new("2").unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn malformed_names_are_rejected() {
        for name in [
            "", "Vlan", "2vlan", "a_b", "a--b", "a-", "-a", "a-2", "../x", "a/b", "a b", "fn",
            "std",
        ] {
            assert!(Name::new(name).is_err(), "{name}");
        }
        assert!(Name::new(&"a".repeat(65)).is_err());
    }
}
