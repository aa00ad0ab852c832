//! Every key of the daemon's file with default and meaning. `deploy/CONFIGURATION.md` is generated
//! from this, and the spelling of keys is checked against it.

mod multus;
mod own;

use serde_json::{Value, json};

use super::own::{CollectConfig, OwnConfig};
use super::policies::PolicyConfig;

/// The connection limit unless configured.
pub const DEFAULT_CONNECTION_LIMIT: usize = 512;

/// A key of the file.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted path of the key; own keys without `cnidaria`.
    pub name: &'static str,
    default: Fallback,
    /// The document's description of the key.
    pub meaning: &'static str,
}

/// What applies if the file omits a key.
#[derive(Debug, Clone, Copy)]
enum Fallback {
    Absent,
    /// A value, shown as code.
    Code(&'static str),
    Number(usize),
    /// A description.
    Words(&'static str),
    /// The default of the parsed configuration.
    Parsed,
}

/// The keys in each section of the document.
pub const SECTIONS: [(&str, &[Key]); 5] = [
    ("daemon", multus::DAEMON),
    ("runtime-conf", multus::RUNTIME_CONF),
    ("networks", multus::NETWORKS),
    ("log", multus::LOG),
    ("own", own::OWN),
];

const fn key(name: &'static str, default: Fallback, meaning: &'static str) -> Key {
    Key {
        name,
        default,
        meaning,
    }
}

/// Multus' top-level keys.
pub(super) fn top_level() -> impl Iterator<Item = &'static str> {
    let multus = SECTIONS.iter().filter(|(section, _)| *section != "own");
    multus
        .flat_map(|(_, keys)| *keys)
        .map(|key| key.name.split('.').next().unwrap_or(key.name))
}

/// The project's own keys, without `cnidaria`.
pub(crate) fn own() -> impl Iterator<Item = &'static str> {
    own::OWN.iter().map(|key| key.name)
}

/// The Markdown table of keys for the document.
pub fn table(keys: &[Key]) -> String {
    let defaults = defaults();
    let rows = keys.iter().map(|key| {
        let (name, meaning) = (key.name, key.meaning);
        format!("| `{name}` | {} | {meaning} |\n", key.shown(&defaults))
    });
    let head = "| key | default | meaning |\n| --- | --- | --- |\n";
    head.to_owned() + &rows.collect::<String>()
}

/// The project's own settings with all keys at their defaults.
fn defaults() -> Value {
    let policies = json!({"modules": "", "record": {}});
    let policies = serde_json::from_value::<PolicyConfig>(policies).ok();
    let collect = serde_json::from_value::<CollectConfig>(json!({"runtimeSocket": ""})).ok();
    let own = OwnConfig {
        policies,
        collect,
        ..OwnConfig::default()
    };
    serde_json::to_value(own).unwrap_or_default()
}

impl Key {
    fn shown(&self, defaults: &Value) -> String {
        match self.default {
            Fallback::Absent => "–".to_owned(),
            Fallback::Code(text) => format!("`{text}`"),
            Fallback::Number(number) => number.to_string(),
            Fallback::Words(words) => words.to_owned(),
            Fallback::Parsed => {
                let pointer = format!("/{}", self.name.replace('.', "/"));
                match defaults.pointer(&pointer) {
                    Some(Value::String(text)) => format!("`{text}`"),
                    Some(Value::Array(elements)) if elements.is_empty() => "none".to_owned(),
                    Some(value) => value.to_string(),
                    None => "–".to_owned(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/CONFIGURATION.md");

    fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    leaves(
                        value,
                        format!("{path}.{name}").trim_start_matches('.'),
                        found,
                    );
                }
            }
            _ => found.push(path.to_owned()),
        }
    }

    /// `CNIDARIA_WRITE_DOCS=1 cargo test -p cnidaria-config --lib reference` writes the document.
    #[test]
    fn the_document_has_each_key_and_default() {
        let text = fs::read_to_string(DOCUMENT).unwrap();
        let mut expected = text.clone();
        for (section, keys) in SECTIONS {
            let (begin, end) = (
                format!("<!-- keys: {section} -->\n"),
                "<!-- end of keys -->",
            );
            let from = expected.find(&begin).expect(section) + begin.len();
            let to = from + expected[from..].find(end).expect(section);
            expected.replace_range(from..to, &table(keys));
        }
        if std::env::var_os("CNIDARIA_WRITE_DOCS").is_some() {
            fs::write(DOCUMENT, &expected).unwrap();
            return;
        }
        assert!(text == expected, "{DOCUMENT} is out of date");
    }

    #[test]
    fn each_own_setting_is_documented() {
        let mut settings = Vec::new();
        leaves(&defaults(), "", &mut settings);
        settings.sort();
        let mut documented: Vec<_> = own::OWN.iter().map(|key| key.name.to_owned()).collect();
        documented.sort();
        assert_eq!(documented, settings);
    }

    #[test]
    fn no_key_is_documented_twice() {
        let mut names: Vec<_> = SECTIONS.iter().flat_map(|(_, keys)| *keys).collect();
        names.sort_by_key(|key| key.name);
        let twice = names.windows(2).find(|pair| pair[0].name == pair[1].name);
        assert!(twice.is_none(), "{twice:?}");
    }
}
