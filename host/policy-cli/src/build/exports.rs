//! Whether a policy in a language without a compiler has the hooks that its WIT exports: the tools of
//! these languages find that only when a pod is attached, or say it in their own words.

use std::fs;
use std::path::Path;

use super::Error;
use crate::suggest;

/// A missing name: where a similar one is, and what was expected.
type Missing = (usize, String);

/// Checks `policy.js`.
///
/// # Errors
/// [`Error::Source`] for the first hook that is not exported.
pub(super) fn javascript(dir: &Path, hooks: &[String]) -> Result<(), Error> {
    check(&dir.join("policy.js"), |text| {
        // Exports that other files have are not seen here.
        if text.contains("export *") {
            return None;
        }
        hooks.iter().find_map(|hook| in_javascript(text, hook))
    })
}

/// Checks `policy.py`, if it is the only module.
///
/// # Errors
/// [`Error::Source`] for the first hook that is not defined.
pub(super) fn python(dir: &Path, hooks: &[String]) -> Result<(), Error> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let modules = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "py"));
    if modules.count() > 1 {
        return Ok(());
    }
    check(&dir.join("policy.py"), |text| {
        hooks.iter().find_map(|hook| in_python(text, hook))
    })
}

fn check(path: &Path, find: impl FnOnce(&str) -> Option<Missing>) -> Result<(), Error> {
    // The language's tool says what it lacks.
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(());
    };
    let Some((at, reason)) = find(&text) else {
        return Ok(());
    };
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    Err(Error::Source {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
        reason,
    })
}

fn in_javascript(text: &str, hook: &str) -> Option<Missing> {
    let name = camel(hook);
    let exported: Vec<(usize, &str)> = statements(text).flat_map(|(_, names)| names).collect();
    let of_hook = exported.iter().find(|(_, known)| *known == name);
    let Some((at, _)) = of_hook else {
        let expected = format!("the hook {hook} needs `export const {name}`");
        return Some(missing(&exported, &name, &expected));
    };
    // The function has the name of the interface.
    let all: Vec<(usize, &str)> = words(text).collect();
    match all.iter().filter(|(_, word)| *word == name).count() {
        0 | 1 => {
            let after: Vec<(usize, &str)> =
                all.into_iter().filter(|(place, _)| place > at).collect();
            let expected = format!("`{name}` needs a function `{name}`");
            Some(missing(&after, &name, &expected))
        }
        _ => None,
    }
}

/// The names that each `export` of a text exports.
fn statements(text: &str) -> impl Iterator<Item = (usize, Vec<(usize, &str)>)> {
    text.match_indices("export ").map(|(at, _)| {
        let rest = text.get(at..).unwrap_or_default();
        let is_list = rest
            .get(7..)
            .is_some_and(|rest| rest.trim_start().starts_with('{'));
        let end = match is_list {
            true => rest.find('}'),
            false => rest.find(['=', '(', '{', ';']),
        };
        let statement = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let words: Vec<(usize, &str)> = words(statement)
            .skip(1)
            .map(|(place, word)| (at + place, word))
            .collect();
        (at, words)
    })
}

fn in_python(text: &str, hook: &str) -> Option<Missing> {
    let class = pascal(hook);
    // `del` is a keyword.
    let function = match hook {
        "del" => "del_".to_owned(),
        hook => hook.replace('-', "_"),
    };
    let defined = |keyword: &'static str| -> Vec<(usize, &str)> {
        let all: Vec<(usize, &str)> = words(text).collect();
        let pairs = all.windows(2).filter_map(|pair| match pair {
            [(_, first), second] if *first == keyword => Some(*second),
            _ => None,
        });
        pairs.collect()
    };
    let names = |all: &[(usize, &str)], name: &str| all.iter().any(|(_, known)| *known == name);
    let classes = defined("class");
    if !names(&classes, &class) {
        // A class may be imported, or assigned.
        if words(text).any(|(_, word)| word == class) {
            return None;
        }
        let expected = format!("the hook {hook} needs a class `{class}`");
        return Some(missing(&classes, &class, &expected));
    }
    let functions = defined("def");
    let expected = format!("the class `{class}` needs a function `{function}`");
    (!names(&functions, &function)).then(|| missing(&functions, &function, &expected))
}

/// The place of a similar name, and what was expected.
fn missing(known: &[(usize, &str)], name: &str, expected: &str) -> Missing {
    let names: Vec<&str> = known.iter().map(|(_, known)| *known).collect();
    match suggest::similar(name, &names) {
        Some(found) => {
            let at = known.iter().find(|(_, known)| *known == found);
            let at = at.map_or(0, |(at, _)| *at);
            (at, format!("{expected}, not {found:?}"))
        }
        None => (0, expected.to_owned()),
    }
}

/// The words of a text, and where they begin.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let mut rest = text.char_indices().peekable();
    std::iter::from_fn(move || {
        while rest.next_if(|(_, c)| !is_word(*c)).is_some() {}
        let (begin, _) = *rest.peek()?;
        while rest.next_if(|(_, c)| is_word(*c)).is_some() {}
        let end = rest.peek().map_or(text.len(), |(end, _)| *end);
        Some((begin, text.get(begin..end)?))
    })
}

fn camel(name: &str) -> String {
    let pascal = pascal(name);
    let (first, rest) = pascal.split_at(pascal.len().min(1));
    first.to_lowercase() + rest
}

fn pascal(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    };
    name.split('-').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_of_javascript_are_found() {
        for text in [
            "export const beforeAdd = {\n  beforeAdd(request) {},\n};",
            "const beforeAdd = { beforeAdd: f };\nexport { select, beforeAdd };",
            "const hook = { beforeAdd: f };\nexport {\n  hook as beforeAdd,\n};",
            "export class beforeAdd { static beforeAdd() {} }",
        ] {
            assert_eq!(in_javascript(text, "before-add"), None, "{text}");
        }
    }

    #[test]
    fn misspelt_javascript_exports_have_their_place() {
        let check = |text: &str, at: usize, reason: &str| {
            assert_eq!(
                in_javascript(text, "before-add"),
                Some((at, reason.to_owned()))
            );
        };
        check(
            "export const befreAdd = { beforeAdd() {} };",
            13,
            "the hook before-add needs `export const beforeAdd`, not \"befreAdd\"",
        );
        check(
            "export const beforeAdd = { beforAdd() {} };",
            27,
            "`beforeAdd` needs a function `beforeAdd`, not \"beforAdd\"",
        );
        check("", 0, "the hook before-add needs `export const beforeAdd`");
    }

    #[test]
    fn misspelt_classes_of_python_have_their_place() {
        let check = |text: &str, at: usize, reason: &str| {
            assert_eq!(in_python(text, "before-add"), Some((at, reason.to_owned())));
        };
        let right = "class BeforeAdd:\n    def before_add(self): pass\n";
        assert_eq!(in_python(right, "before-add"), None);
        assert_eq!(
            in_python("class Del:\n    def del_(self): pass\n", "del"),
            None
        );
        check(
            "class BeforAdd:\n    def before_add(self): pass\n",
            6,
            "the hook before-add needs a class `BeforeAdd`, not \"BeforAdd\"",
        );
        check(
            "class BeforeAdd:\n    def befor_add(self): pass\n",
            25,
            "the class `BeforeAdd` needs a function `before_add`, not \"befor_add\"",
        );
    }
}
