//! Takes secrets out of texts: those that are known, and what looks like one.

use policy_engine::Redaction;
use policy_engine::record::Redactor;
use serde_json::Value;

/// What stands for a secret.
pub(super) const HIDDEN: &str = "redacted";
/// Shorter texts could be part of a word by chance.
const MIN_SECRET: usize = 6;
/// Parts of the names of members whose values are secrets, in lower case and without separators.
const SECRET_KEYS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "keydata",
    "credential",
    "authorization",
    "certificatedata",
];
/// Names of such members that contain no secrets.
const HARMLESS_KEYS: [&str; 2] = ["tokenfile", "certificateauthoritydata"];

/// Whether the value of a member is a secret, by its name.
pub(super) fn is_secret_key(name: &str) -> bool {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let plain: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    !HARMLESS_KEYS.contains(&plain.as_str()) && SECRET_KEYS.iter().any(|key| plain.contains(key))
}

/// Takes secrets out of texts.
#[derive(Debug, Default)]
pub(super) struct Scrubber {
    /// The longest first, since one may contain another.
    known: Vec<String>,
    redactor: Redactor,
}

impl Scrubber {
    /// Knows these secrets, and the rules for recordings of requests.
    pub(super) fn new(mut known: Vec<String>, rules: &Redaction) -> Self {
        known.retain(|secret| secret.len() >= MIN_SECRET && secret != HIDDEN);
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        known.dedup();
        Self {
            known,
            redactor: Redactor::new(rules),
        }
    }

    /// JSON whose texts are free of secrets.
    pub(super) fn json(&self, mut value: Value) -> String {
        self.value(&mut value);
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        self.redactor.json(&text) + "\n"
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match value {
                        Value::String(text) if is_secret_key(name) => HIDDEN.clone_into(text),
                        value => self.value(value),
                    }
                }
            }
            Value::Array(elements) => elements.iter_mut().for_each(|one| self.value(one)),
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    /// A text without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), HIDDEN);
            }
        }
        let text = without_pem(&text);
        let text = without_user_info(&text);
        let text = without_after(&text, "eyJ", |c| {
            c.is_ascii_alphanumeric() || "._-".contains(c)
        });
        let text = without_after(&text, "Bearer ", |c| !c.is_whitespace() && c != '"');
        without_assignments(&text)
    }
}

/// Cuts certificates and keys, also those without an end.
fn without_pem(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        clean.push_str(before);
        clean.push_str(HIDDEN);
        let end = after.split_once(END).map(|(_, end)| end);
        let end = end
            .and_then(|end| end.split_once("-----"))
            .map(|(_, end)| end);
        rest = end.unwrap_or_default();
    }
    clean + rest
}

/// Cuts user names and passwords out of URLs.
fn without_user_info(text: &str) -> String {
    const SCHEME: &str = "://";
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(SCHEME) {
        clean.push_str(before);
        clean.push_str(SCHEME);
        let is_end = |c: char| c.is_whitespace() || "/?#\"'".contains(c);
        let authority = after.split(is_end).next().unwrap_or_default();
        rest = match authority.rfind('@') {
            Some(at) => {
                clean.push_str(HIDDEN);
                after.get(at..).unwrap_or_default()
            }
            None => after,
        };
    }
    clean + rest
}

/// Cuts what follows `begin` in words of `is_part`, if it is long enough for a secret.
fn without_after(text: &str, begin: &str, is_part: impl Fn(char) -> bool) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(begin) {
        clean.push_str(before);
        let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
        match end >= MIN_SECRET {
            true => clean.push_str(HIDDEN),
            false => {
                clean.push_str(begin);
                clean.push_str(after.get(..end).unwrap_or_default());
            }
        }
        rest = after.get(end..).unwrap_or_default();
    }
    clean + rest
}

/// Cuts the values of `password=…`, `token: …` and the like.
fn without_assignments(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = rest.split_at(at);
        let name = before.trim_end_matches(['"', '\'', '\\', ' ']);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let name = name.rsplit(|c| !is_name(c)).next().unwrap_or_default();
        clean.push_str(before);
        let value = after.get(1..).unwrap_or_default();
        let quotes = value.len() - value.trim_start_matches(['"', '\'', '\\', ' ']).len();
        let (lead, value) = value.split_at(quotes);
        clean.push_str(after.get(..1).unwrap_or_default());
        clean.push_str(lead);
        rest = value;
        if is_secret_key(name) {
            let is_end = |c: char| c.is_whitespace() || "\"',;&}])\\".contains(c);
            let end = value.find(is_end).unwrap_or(value.len());
            if end > 0 {
                clean.push_str(HIDDEN);
            }
            rest = value.get(end..).unwrap_or_default();
        }
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scrubber() -> Scrubber {
        let rules = Redaction {
            keys: vec!["pin".to_owned()],
            ..Redaction::default()
        };
        Scrubber::new(vec!["hunter22".to_owned(), "x".to_owned()], &rules)
    }

    #[test]
    fn secrets_are_cut_and_the_rest_stays() {
        for (text, expected) in [
            ("ipam: hunter22 is wrong", "ipam: redacted is wrong"),
            ("an x stays", "an x stays"),
            (
                "a -----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY----- b",
                "a redacted b",
            ),
            ("-----BEGIN CERTIFICATE-----\nMIIE", "redacted"),
            ("https://u:p@ss@host/x?y", "https://redacted@host/x?y"),
            ("see https://host/a@b", "see https://host/a@b"),
            ("got eyJhbGciOi.eyJzdWIi.c2ln end", "got redacted end"),
            (
                "Authorization: Bearer abcdef123 no",
                "Authorization: redacted no",
            ),
            ("password=s3cret, user=me", "password=redacted, user=me"),
            ("API_KEY: \"s3cret\"", "API_KEY: \"redacted\""),
            (
                r#"{\"token\":\"abc\",\"n\":1}"#,
                r#"{\"token\":\"redacted\",\"n\":1}"#,
            ),
            ("tokenFile: /var/run/token", "tokenFile: /var/run/token"),
            ("10:20:30 a=b", "10:20:30 a=b"),
            ("=", "="),
            ("secret=", "secret="),
        ] {
            assert_eq!(scrubber().text(text), expected, "{text}");
        }
    }

    #[test]
    fn members_of_json_are_cut_by_name() {
        let value = json!({ "a": [{ "clientKeyData": "zz" }], "pin": "1234", "pod": "default/a" });
        let shown = scrubber().json(value);
        assert!(!shown.contains("zz") && !shown.contains("1234"), "{shown}");
        assert!(shown.contains("default/a"), "{shown}");
    }
}
