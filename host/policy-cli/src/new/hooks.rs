//! The hooks of a new project.

use policy_engine::Hook;

use super::Error;
use crate::suggest;

/// Hooks that can be chosen: every policy has `configure`.
pub(crate) fn choosable() -> impl Iterator<Item = Hook> {
    Hook::ALL
        .into_iter()
        .filter(|hook| *hook != Hook::Configure)
}

/// The chosen hooks, in the order of a pod's life and without repetitions.
///
/// # Errors
/// [`Error::Hook`] for a name that is not a hook's, [`Error::NoHooks`] without any.
pub(crate) fn parse(names: &[String]) -> Result<Vec<Hook>, Error> {
    let names: Vec<String> = names
        .iter()
        .map(|name| name.trim().replace('_', "-"))
        .filter(|name| !name.is_empty())
        .collect();
    for name in &names {
        if !choosable().any(|hook| hook.as_str() == *name) {
            let known: Vec<&str> = choosable().map(Hook::as_str).collect();
            return Err(Error::Hook {
                name: name.clone(),
                hint: suggest::hint(name, &known),
            });
        }
    }
    let chosen: Vec<Hook> = choosable()
        .filter(|hook| names.iter().any(|name| name == hook.as_str()))
        .collect();
    match chosen.is_empty() {
        true => Err(Error::NoHooks),
        false => Ok(chosen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(names: &[&str]) -> Result<Vec<Hook>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        parse(&names).map_err(|error| error.to_string())
    }

    #[test]
    fn hooks_are_in_request_order_and_once() {
        let hooks = parsed(&["after_add", "select", "after-add"]);
        assert_eq!(hooks, Ok(vec![Hook::Select, Hook::AfterAdd]));
    }

    #[test]
    fn an_unknown_hook_has_a_suggestion() {
        let error = parsed(&["before-ad"]).unwrap_err();
        assert!(error.ends_with("did you mean \"before-add\"?"), "{error}");
        let error = parsed(&["configure"]).unwrap_err();
        assert!(
            error.contains("known are select, validate-selections"),
            "{error}"
        );
        assert!(parsed(&[" "]).is_err());
    }
}
