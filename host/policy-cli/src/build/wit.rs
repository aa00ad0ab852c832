//! The project's WIT: which hooks the policy exports. Its mistakes have their place.

use std::path::Path;

use policy_engine::Hook;
use wit_bindgen_core::wit_parser::{PackageId, Resolve, WorldId, WorldKey};

use super::Error;
use crate::suggest;

/// The directory of a project's WIT.
const DIR: &str = "wit";

/// The world of a policy.
const WORLD: &str = "policy";

/// Interfaces of the host beside the hooks.
const IMPORTS: [&str; 10] = [
    "types",
    "settings",
    "log",
    "namespaces",
    "nads",
    "node",
    "metrics",
    "clock",
    "random",
    "state",
];

/// A project's WIT.
pub(super) struct Wit {
    pub(super) resolve: Resolve,
    pub(super) world: WorldId,
}

impl Wit {
    /// Reads the WIT of a project.
    ///
    /// # Errors
    /// [`Error::Source`] with the place of a mistake, [`Error::Wit`] without one.
    pub(super) fn read(dir: &Path) -> Result<Self, Error> {
        let dir = dir.join(DIR);
        let mut resolve = Resolve::default();
        let pushed = resolve.push_dir(&dir).map(|(package, _)| package);
        let package = pushed.map_err(|error| mistake(&dir, &resolve.render_error(&error)))?;
        let world = world(&dir, &resolve, package)?;
        Ok(Self { resolve, world })
    }

    /// The interfaces that the policy exports, by name.
    pub(super) fn exports(&self) -> Vec<String> {
        let world = self.resolve.worlds.get(self.world);
        let exports = world.into_iter().flat_map(|world| world.exports.keys());
        let interfaces = exports.filter_map(|key| match key {
            WorldKey::Interface(id) => self.resolve.interfaces.get(*id)?.name.clone(),
            WorldKey::Name(_) => None,
        });
        interfaces.collect()
    }
}

fn world(dir: &Path, resolve: &Resolve, package: PackageId) -> Result<WorldId, Error> {
    let worlds = resolve.packages.get(package).map(|package| &package.worlds);
    let mut worlds = worlds.into_iter().flatten();
    let mut other = None;
    let found = worlds.find_map(|(name, id)| {
        other = Some((name, *id));
        (name == WORLD).then_some(*id)
    });
    if let Some(found) = found {
        return Ok(found);
    }
    let Some((name, id)) = other else {
        let reason = format!("has no world {WORLD:?}");
        let dir = dir.to_owned();
        return Err(Error::Wit { dir, reason });
    };
    let span = resolve.worlds.get(id).map(|world| world.span);
    let place = span.map(|span| resolve.render_location(span));
    let reason = format!("expected a world named {WORLD:?}, not {name:?}");
    Err(placed(dir, place.as_deref(), reason))
}

/// The mistake that a rendered error of the parser is about.
fn mistake(dir: &Path, rendered: &str) -> Error {
    let mut lines = rendered.lines().map(str::trim);
    let place = lines.clone().find_map(|line| line.strip_prefix("--> "));
    let mut reason = lines.next().unwrap_or_default().to_owned();
    // Where several texts are chained, the place belongs to the last one before it.
    let before = lines.take_while(|line| !line.starts_with("--> "));
    let known: Vec<&str> = before.filter(|line| !line.is_empty()).collect();
    let is_list = reason.ends_with("known packages:");
    match (is_list, known.as_slice()) {
        (true, known) => {
            let known = known.join(", ");
            reason = reason.replace(" known packages:", &format!(" known are {known}"));
        }
        (false, [.., last]) => (*last).clone_into(&mut reason),
        (false, []) => {}
    }
    if let Some(name) = place
        .and_then(word)
        .filter(|_| reason.contains("not found"))
    {
        let hooks = Hook::ALL.into_iter().map(Hook::as_str);
        let known: Vec<&str> = hooks.chain(IMPORTS).collect();
        let is_interface = !is_list && !known.contains(&name.as_str());
        if is_interface {
            reason = format!(
                "unknown interface {name:?}; {}",
                suggest::hint(&name, &known)
            );
        }
    }
    placed(dir, place, reason)
}

/// The word at a place such as `wit/policy.wit:7:25`.
fn word(place: &str) -> Option<String> {
    let (path, line, column) = parts(place)?;
    let text = std::fs::read_to_string(path).ok()?;
    let rest: String = text
        .lines()
        .nth(line.checked_sub(1)?)?
        .chars()
        .skip(column - 1)
        .collect();
    // The interface of `cnidaria:policy/select@0.3.0`, or a name alone.
    let rest = rest.split(['@', ';', ' ']).next()?;
    let name = rest.rsplit('/').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn parts(place: &str) -> Option<(&Path, usize, usize)> {
    let (rest, column) = place.rsplit_once(':')?;
    let (path, line) = rest.rsplit_once(':')?;
    let column: usize = column.parse().ok().filter(|column| *column > 0)?;
    Some((Path::new(path), line.parse().ok()?, column))
}

fn placed(dir: &Path, place: Option<&str>, reason: String) -> Error {
    match place.and_then(parts) {
        Some((path, line, column)) => Error::Source {
            path: path.to_owned(),
            line,
            column,
            reason,
        },
        None => Error::Wit {
            dir: dir.to_owned(),
            reason,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::files;

    /// The error for this text of `wit/policy.wit`.
    fn error(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("wit/deps/cnidaria-policy");
        std::fs::create_dir_all(&package).unwrap();
        for (name, text) in files::below("sdk/wit/policy-0.3.0") {
            std::fs::write(package.join(name), text).unwrap();
        }
        std::fs::write(dir.path().join("wit/policy.wit"), text).unwrap();
        let error = Wit::read(dir.path()).err().unwrap().to_string();
        let root = format!("{}/", dir.path().display());
        error.replace(&root, "")
    }

    #[test]
    fn mistakes_have_place_and_suggestion() {
        let check = |world: &str, expected: &str| {
            let found = error(&format!("package a:policy;\n{world}\n"));
            assert!(found.starts_with(expected), "{found}");
        };
        check(
            "world policy {\n  export cnidaria:policy/befor-add@0.3.0;\n}",
            "wit/policy.wit:3:26  unknown interface \"befor-add\"; did you mean \"before-add\"?",
        );
        check(
            "world policy {\n  export cnidaria:policy/select@0.3.1;\n}",
            "wit/policy.wit:3:10  package 'cnidaria:policy@0.3.1' not found",
        );
        check(
            "world polcy {}",
            "wit/policy.wit:2:7  expected a world named \"policy\", not \"polcy\"",
        );
        check("world policy {\n  exprt x;\n}", "wit/policy.wit:3:3  ");
        check("", "wit  has no world \"policy\"");
    }
}
