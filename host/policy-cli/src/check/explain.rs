//! Finds the place in a configuration file that a policy's refusal is about.

use policy_engine::Hook;
use policy_engine::trial::{Configuration, Fault, Refusal};

use crate::suggest;

/// `FILE:LINE:COLUMN  key: reason`.
pub(crate) fn line(file: &str, fault: &Fault) -> String {
    match fault.at {
        Some(at) => format!("{file}:{at}  {fault}"),
        None => format!("{file}  {fault}"),
    }
}

/// The fault that a refusal is about.
pub(crate) fn refusal(refusal: &Refusal, configuration: &Configuration) -> Fault {
    let of = |key: &str, reason: String| Fault {
        at: Some(configuration.place_of(key)),
        key: key.to_owned(),
        reason,
    };
    match refusal {
        Refusal::Settings(reason) => settings(reason, configuration),
        Refusal::Described {
            pointer,
            reason,
            offset,
        } => Fault {
            at: Some(configuration.place_in_settings(*offset)),
            key: pointer.clone(),
            reason: reason.clone(),
        },
        Refusal::NotGranted(reason) => of("grants", reason.clone()),
        Refusal::Digest { .. } => of("digest", refusal.to_string()),
        Refusal::Failed { reason, .. } if reason.contains("limits.") => {
            limit(reason, &refusal.to_string(), configuration)
        }
        _ => Fault {
            at: None,
            key: String::new(),
            reason: module(&refusal.to_string()),
        },
    }
}

/// A reason about the module, with the hook that was probably meant.
fn module(reason: &str) -> String {
    let named = || {
        let export = reason.strip_prefix("exports ")?.split(['@', ',']).next()?;
        let name = export.rsplit('/').next()?;
        let known: Vec<&str> = Hook::ALL.iter().map(|hook| hook.as_str()).collect();
        suggest::similar(name, &known).filter(|known| *known != name)
    };
    match named() {
        Some(hook) => format!("{reason}; did you mean {hook:?}?"),
        None => reason.to_owned(),
    }
}

/// The fault that a limit is, which the reason names.
fn limit(reason: &str, whole: &str, configuration: &Configuration) -> Fault {
    let named = reason.split_once("limits.").map(|(_, rest)| rest);
    let name = named.and_then(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next());
    let name = name.unwrap_or_default();
    let is_set = configuration.changed_limits().contains(&name);
    let place = if is_set { name } else { "limits" };
    Fault {
        at: Some(configuration.place_of(place)),
        key: format!("limits.{name}"),
        reason: whole.to_owned(),
    }
}

/// The fault that a policy finds in its settings. The policy's text names keys, and with serde's
/// errors a place in the settings.
fn settings(reason: &str, configuration: &Configuration) -> Fault {
    let text = configuration.settings();
    let (mut key, reason) = key(reason);
    let (reason, end) = without_place(reason, text);
    let unknown = unknown_key(reason);
    // An unknown key is one of the object that has it.
    if let Some((name, _)) = &unknown
        && let Some(parent) = key.strip_suffix(&format!(".{name}"))
    {
        key = parent.to_owned();
    }
    let offset = match &unknown {
        Some((key, _)) => {
            let quoted = format!("{key:?}");
            let before = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
            before.rfind(&quoted).or_else(|| text.find(&quoted))
        }
        None => {
            let token = || end.map(|end| token_before(text, end));
            let named = || named(&key, reason, text);
            // With a path, the place is that of the value, not of a list that it is in.
            match key.contains(['.', '[']) {
                true => token().or_else(named),
                false => named().or_else(token),
            }
        }
    };
    Fault {
        at: Some(configuration.place_in_settings(offset.unwrap_or(0))),
        key,
        reason: match unknown {
            Some((key, known)) if known.is_empty() => format!("unknown key {key:?}"),
            Some((key, known)) => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                format!("unknown key {key:?}; {}", suggest::hint(&key, &known))
            }
            None => reason.to_owned(),
        },
    }
}

/// The key that a reason begins with, such as `settings.a[0]: …`, and the rest.
fn key(reason: &str) -> (String, &str) {
    let is_key = |key: &str| {
        let rest = key.strip_prefix("settings");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            && !key.contains(' ')
    };
    match reason.split_once(": ") {
        Some((key, reason)) if is_key(key) => (key.to_owned(), reason),
        _ => ("settings".to_owned(), reason),
    }
}

/// Takes ` at line 1 column 2` off a message, as an offset in the settings.
pub(crate) fn without_place<'a>(reason: &'a str, settings: &str) -> (&'a str, Option<usize>) {
    let split = || {
        let (text, place) = reason.rsplit_once(" at line ")?;
        let (line, column) = place.split_once(" column ")?;
        let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
        let lines = settings.split_inclusive('\n');
        let before: usize = lines.take(line.saturating_sub(1)).map(str::len).sum();
        Some((text, before + column))
    };
    match split() {
        Some((text, end)) => (text, Some(end.min(settings.len()))),
        None => (reason, None),
    }
}

/// The key of ``unknown field `x`, expected one of `a`, `b` `` or `unknown key "x", expected …`, and
/// the known ones.
fn unknown_key(reason: &str) -> Option<(String, Vec<String>)> {
    let lower = reason.to_lowercase();
    let at = ["unknown field", "unknown key"]
        .into_iter()
        .find_map(|words| lower.find(words))?;
    let rest = reason.get(at..)?;
    let words = |text: &str| -> Vec<String> {
        let quoted = text.split(['`', '"', '\'']).skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    let (own, expected) = rest.split_once("expected").unwrap_or((rest, ""));
    let key = words(own).into_iter().next()?;
    let mut known = words(expected);
    if known.is_empty() {
        let list = expected.trim_start_matches(" one of ");
        known = list
            .split(',')
            .map(|word| word.trim().to_owned())
            .filter(|word| !word.is_empty() && !word.contains(' '))
            .collect();
    }
    Some((key, known))
}

/// The value of the keys in a path such as `settings.namespaces`, and of those that a reason begins
/// with, as in `shop: …`.
fn named(key: &str, reason: &str, settings: &str) -> Option<usize> {
    let mut found = None;
    let mut from = 0;
    let path = key.split(['.', '[']).skip(1);
    let path = path.filter(|segment| !segment.ends_with(']'));
    for segment in path.chain(reason.split(": ")) {
        let quoted = format!("{segment:?}");
        let Some(at) = settings.get(from..).and_then(|rest| rest.find(&quoted)) else {
            break;
        };
        from += at + quoted.len();
        found = Some(from);
    }
    let rest = settings.get(found?..)?;
    let value = rest.find(|c: char| !c.is_whitespace() && c != ':')?;
    found.map(|at| at + value)
}

/// Where the token begins that ends at `end`.
fn token_before(settings: &str, end: usize) -> usize {
    let before = settings.get(..end).unwrap_or(settings);
    let is_delimiter =
        |c: char| c.is_whitespace() || matches!(c, ',' | ':' | '[' | '{' | ']' | '}');
    let token = before.trim_end_matches(is_delimiter);
    if let Some(inner) = token.strip_suffix('"') {
        return inner.rfind('"').unwrap_or_default();
    }
    token.rfind(is_delimiter).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::path::Path;

    use super::*;

    const CONFIG: &str = "{\n  \"mode\": \"audit\",\n  \"settings\": {\n    \"serach\": [\"a\"],\n    \"mtu\": 100,\n    \"namespaces\": {\"shop\": [\"x\"]}\n  }\n}\n";

    fn explained(reason: &str) -> String {
        let configuration = Configuration::parse("p", Path::new("policy.json"), CONFIG).unwrap();
        line("policy.json", &settings(reason, &configuration))
    }

    #[test]
    fn an_unknown_key_is_found_and_suggested() {
        let check = |reason: &str| {
            let expected =
                "policy.json:4:5  settings: unknown key \"serach\"; did you mean \"search\"?";
            assert_eq!(explained(reason), expected);
        };
        check(
            "settings: unknown field `serach`, expected one of `search`, `mtu` at line 2 column 12",
        );
        check("settings: unknown field `serach`, expected `search` or `mtu` at line 2 column 12");
        check("unknown key \"serach\", expected one of search, mtu");
        check("settings.serach: unknown field `serach`, expected `search` at line 2 column 12");
    }

    #[test]
    fn a_misspelt_hook_is_suggested() {
        let check = |export: &str, expected: &str| {
            let reason = format!("exports cnidaria:policy/{export}, which is not a hook");
            assert_eq!(module(&reason), format!("{reason}{expected}"));
        };
        check("befor-add@0.3.0", "; did you mean \"before-add\"?");
        check("before-add@0.9.0", "");
        check("unrelated@0.3.0", "");
    }

    #[test]
    fn a_fault_of_the_schema_has_its_pointer() {
        let configuration = Configuration::parse("p", Path::new("policy.json"), CONFIG).unwrap();
        let described = Refusal::Described {
            pointer: "/settings/serach".to_owned(),
            reason: "unknown key; did you mean \"search\"?".to_owned(),
            offset: configuration.settings().find("\"serach").unwrap(),
        };
        assert_eq!(
            line("policy.json", &refusal(&described, &configuration)),
            "policy.json:4:5  /settings/serach: unknown key; did you mean \"search\"?"
        );
    }

    #[test]
    fn a_key_that_the_policy_names_is_found() {
        let check = |reason: &str, at: &str| {
            let explained = explained(reason);
            assert!(
                explained.starts_with(&format!("policy.json:{at}  settings: ")),
                "{explained}"
            );
        };
        check("settings: mtu: 100 is not within 1280 to 9216", "5:12");
        check(
            "settings: namespaces: shop: \"x\" has no prefix length",
            "6:28",
        );
        check(
            "invalid type: integer `100`, expected a string at line 3 column 14",
            "5:12",
        );
        let path =
            "settings.mtu: invalid type: integer `100`, expected a string at line 3 column 14";
        assert_eq!(
            explained(path),
            "policy.json:5:12  settings.mtu: invalid type: integer `100`, expected a string"
        );
        check("settings: none of nameservers and search is given", "3:15");
    }
}
