//! Which hooks, denial codes and grants no case reaches.

use std::collections::BTreeSet;

use policy_engine::trial::Configuration;

use crate::case::Case;
use crate::node::PolicyEvent;
use crate::policy::Policy;

/// What cases should reach, and what they have reached.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    hooks: BTreeSet<&'static str>,
    codes: BTreeSet<u32>,
    grants: BTreeSet<String>,
    called: BTreeSet<&'static str>,
    denied: BTreeSet<u32>,
    used: BTreeSet<&'static str>,
}

impl Coverage {
    /// The hooks and grants of the module, and the codes that the cases name.
    pub(super) fn of(policy: &Policy, cases: &[Case]) -> Self {
        let hooks = policy.compiled.hooks();
        let hooks = hooks.into_iter().map(|hook| hook.as_str());
        Self {
            // Every load calls configure.
            hooks: hooks.filter(|hook| *hook != "configure").collect(),
            grants: grants(policy, cases),
            codes: cases.iter().flat_map(|case| case.codes.clone()).collect(),
            ..Self::default()
        }
    }

    /// Notes what one request reached.
    pub(super) fn note(&mut self, events: &[PolicyEvent]) {
        for event in events {
            match event {
                PolicyEvent::Called { hook, .. } => {
                    self.called.insert(hook.as_str());
                }
                PolicyEvent::Denied(denial) => {
                    self.denied.insert(denial.code);
                }
                PolicyEvent::Used(grant) => {
                    self.used.insert(grant);
                }
                _ => {}
            }
        }
    }

    /// A line for each kind.
    pub(super) fn text(&self) -> String {
        let codes = |codes: &BTreeSet<u32>| codes.iter().map(u32::to_string).collect();
        let names = |names: &BTreeSet<&str>| names.iter().map(|name| (*name).to_owned()).collect();
        [
            line("hooks", names(&self.hooks), names(&self.called)),
            line("denial codes", codes(&self.codes), codes(&self.denied)),
            line("grants", self.grants.clone(), names(&self.used)),
        ]
        .concat()
    }
}

/// The grants that the module's imports need, and those for edits that the configuration or a case
/// has.
fn grants(policy: &Policy, cases: &[Case]) -> BTreeSet<String> {
    let asked = policy.compiled.asked();
    let mut grants: BTreeSet<String> = asked.into_iter().map(str::to_owned).collect();
    let own = policy.configuration().ok();
    let own = own.iter().flat_map(|own| own.edit_grants());
    grants.extend(own.map(str::to_owned));
    for case in cases {
        let given = case.config.get("grants").and_then(|given| given.as_array());
        let names = given.into_iter().flatten().filter_map(|name| name.as_str());
        let edits = names.filter(|name| Configuration::is_edit_grant(name));
        grants.extend(edits.map(str::to_owned));
    }
    grants
}

fn line(kind: &str, wanted: BTreeSet<String>, reached: BTreeSet<String>) -> String {
    let missing: Vec<&str> = wanted.difference(&reached).map(String::as_str).collect();
    let count = wanted.len() - missing.len();
    match missing.is_empty() {
        true => format!("coverage: {count} of {} {kind}\n", wanted.len()),
        false => format!(
            "coverage: {count} of {} {kind}; no case reaches {}\n",
            wanted.len(),
            missing.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_case_reaches_is_named() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            line("hooks", set(&["del", "select"]), set(&["select"])),
            "coverage: 1 of 2 hooks; no case reaches del\n"
        );
        assert_eq!(
            line("grants", set(&[]), set(&["state"])),
            "coverage: 0 of 0 grants\n"
        );
    }
}
