//! Reads files of cases. A mistake in one is an error with file, line and column.

use std::path::Path;

use serde_saphyr::Spanned;

use super::Case;
use super::format::Document;
use super::mistake::{CaseFile, Error};
use super::resolved::resolve;
use crate::text;
use crate::tree::Tree;

/// The cases of a file, in order.
///
/// # Errors
/// [`Error`] for the first mistake.
pub(crate) fn read(path: &Path) -> Result<Vec<Case>, Error> {
    let text = text::read(path).map_err(|unreadable| match unreadable {
        text::Unreadable::Io(source) => Error::Read {
            path: path.to_owned(),
            source,
        },
        text::Unreadable::Encoding(wrong) => Error::Mistake {
            path: path.to_owned(),
            at: format!(":{}:{}", wrong.line, wrong.column),
            reason: wrong.reason,
        },
    })?;
    parse(path, &text)
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Case>, Error> {
    let file = CaseFile {
        path,
        tree: Tree::of(text),
    };
    let documents: Vec<Option<Spanned<Document>>> =
        serde_saphyr::from_multiple(text).map_err(|error| file.syntax(&error))?;
    let mut defaults = Document::default();
    let mut defaults_at = None;
    let mut cases = Vec::new();
    for document in documents.into_iter().flatten() {
        let at = document.referenced;
        let mut document = document.value;
        if let Some(given) = document.defaults.take() {
            if given.expect.is_some() || given.steps.is_some() || !document.is_empty() {
                let reason = "defaults stand in a document of their own, without expect or steps";
                return Err(file.mistake(at, reason));
            }
            defaults = given.with_defaults(&defaults);
            defaults_at = Some(at);
            continue;
        }
        let document = document.with_defaults(&defaults);
        cases.push(resolve(&file, (at, defaults_at), document)?);
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn error(text: &str) -> String {
        parse(Path::new("a.yaml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_mistake_has_file_line_and_column() {
        let check = |text: &str, expected: &str| {
            let found = error(text);
            assert!(found.starts_with(expected), "{found}");
        };
        check(
            "pod: {}\nexpcet: {}\n",
            "a.yaml:2:1  unknown key \"expcet\"; did you mean \"expect\"?",
        );
        check(
            "pod: {}\n---\nexpect:\n  verdikt: deny\n",
            "a.yaml:4:3  expect: unknown key \"verdikt\"; did you mean",
        );
        check(
            "expect: {verdict: denny}\n",
            "a.yaml:1:19  expect.verdict: unknown value \"denny\"; did you mean \"deny\"?",
        );
        check(
            "expect: {hook: before-ad}\n",
            "a.yaml:1:16  expect.hook: unknown hook \"before-ad\"; did you mean",
        );
        check(
            "steps:\n- add: bob\n",
            "a.yaml:2:8  steps[0].add: unknown pod \"bob\"",
        );
        check(
            "steps:\n- add: pod\n- ad: pod\n",
            "a.yaml:3:3  steps[1]: unknown key \"ad\"",
        );
        check("steps:\n- sandbox: x\n", "a.yaml:2:3  steps[0]: ");
        check("clock: yesterday\n", "a.yaml:1:8  clock: expected a time");
        check(
            "delegates: {eth0: {ips: 1}}\n",
            "a.yaml:1:19  delegates.eth0: ",
        );
        check("networks: {a: [1]}\n", "a.yaml:1:15  networks.a: ");
        check(
            "expect: {code: many}\n",
            "a.yaml:1:16  expect.code: expected a whole number",
        );
        check(
            "expect: {interfaces: eth0}\n",
            "a.yaml:1:22  expect.interfaces: expected a list",
        );
        check(
            "pod: {owner: {kind: a}}\n",
            "a.yaml:1:15  pod.owner: the key \"name\" is missing",
        );
        let alone = "a.yaml:1:1  defaults stand in a document of their own";
        check("defaults: {}\nsettings: {}\n", alone);
        check("defaults: {}\nexpect: {}\n", alone);
        check("name: [a]\n", "a.yaml:1:7  name: expected a text");
        check(
            "name: a\nname: b\n",
            "a.yaml:2:1  \"name\" is given more than once",
        );
    }

    #[test]
    fn what_would_test_nothing_is_a_mistake() {
        let check = |text: &str, expected: &str| assert_eq!(error(text), expected);
        check(
            "expect: {conf: {net1: {mtu: 1}}}\n",
            "a.yaml:1:24  expect.conf.net1: expected a JSON pointer, which begins with a slash; did you mean \"/mtu\"?",
        );
        check(
            "expect: {hook: del}\n",
            "a.yaml:1:16  expect.hook: a policy cannot deny in the hook \"del\"",
        );
        check(
            "expect: {verdict: accept, code: 130}\n",
            "a.yaml:1:9  expect: an accepted request has no code, hook or cause",
        );
        check(
            "networks: {a/b/c: {type: ptp}}\n",
            "a.yaml:1:19  networks.a/b/c: expected the key to be a name, or a namespace and a name with a slash between",
        );
        check(
            "expect: {cause: polcy}\n",
            "a.yaml:1:17  expect.cause: unknown value \"polcy\"; did you mean \"policy\"?",
        );
        check(
            "expect: {findings: [{severity: warning}, {severity: warnin}]}\n",
            "a.yaml:1:53  expect.findings[1].severity: unknown value \"warnin\"; did you mean \"warning\"?",
        );
        check(
            "name: a\nsteps: []\n",
            "a.yaml:2:8  steps: expected at least one step",
        );
        check(
            "networks: {storage: {type: ptp}}\ndelegates: {stroage: {ips: []}}\n",
            "a.yaml:2:22  delegates.stroage: no such network; did you mean \"storage\"?",
        );
        check(
            "delegates: {eth0: {ipz: []}}\n",
            "a.yaml:1:19  delegates.eth0: expected members of a CNI result: unknown member \"ipz\"; known are cniVersion, interfaces, ips, routes, dns",
        );
        check(
            "networks: {storage: {tpye: ptp}}\n",
            "a.yaml:1:21  networks.storage: a conf needs a type, or a list of plugins; did you mean \"type\"?",
        );
        check(
            "networks: {a: {type: ptp}}\nnetworkAnnotations: {b: {x: y}}\n",
            "a.yaml:2:25  networkAnnotations.b: unknown network \"b\"; known are a",
        );
        check(
            "state: {a: {valu: x}}\n",
            "a.yaml:1:12  state.a: unknown key \"valu\"; did you mean \"value\"?",
        );
        check(
            "state: {a: 5}\n",
            "a.yaml:1:12  state.a: expected a text, or value and sandbox",
        );
        check(
            "steps: [{add: pod}, {gc: [pdo]}]\n",
            "a.yaml:1:27  steps[1].gc[0]: no earlier step adds sandbox \"pdo\"; known are pod",
        );
        check(
            "steps: [{del: web}]\n",
            "a.yaml:1:15  steps[0].del: no earlier step adds sandbox \"web\"",
        );
    }

    #[test]
    fn the_mode_off_is_not_a_boolean() {
        let cases = parse(Path::new("a.yaml"), "config: {mode: off}\n").unwrap();
        let mode = cases.first().unwrap().config.get("mode");
        assert_eq!(mode, Some(&"off".into()));
    }

    #[test]
    fn defaults_are_inherited_and_replaced() {
        let text = "defaults:\n  pod: {namespace: a, labels: {x: y}}\n  networks: {n: {type: ptp}}\n---\npod: {name: w}\n---\npod: {namespace: b}\nnetworks: {m: {type: ptp}}\n";
        let cases = parse(Path::new("a.yaml"), text).unwrap();
        let pods: Vec<_> = cases
            .iter()
            .map(|case| {
                let pod = case.surroundings.objects.pods().first().unwrap();
                (pod.namespace.as_str(), pod.name.as_str(), pod.labels.len())
            })
            .collect();
        assert_eq!(pods, [("a", "w", 1), ("b", "pod", 1)]);
        assert_eq!(cases.last().unwrap().surroundings.objects.nads().len(), 2);
    }
}
