//! What in a configuration has no effect.

use std::path::Path;

use policy_engine::Hook;
use policy_engine::trial::{Compiled, Configuration};

use crate::manifests::Objects;
use crate::suggest;

/// Limits that only matter with the grant `state`.
const STATE: [&str; 2] = ["stateKeys", "stateBytes"];
/// Limits of edits.
const EDITS: [&str; 7] = [
    "edits",
    "editBytes",
    "editDepth",
    "editMembers",
    "editKeyBytes",
    "requestEditBytes",
    "requestEditMembers",
];
/// Hooks that can edit.
const EDITING: [Hook; 4] = [
    Hook::Select,
    Hook::BeforeAdd,
    Hook::AfterAdd,
    Hook::Finalize,
];
/// Grants of edits that only some hooks make: in before-add, and of results.
const CONF_GRANTS: [&str; 8] = [
    "append-plugin",
    "change-type",
    "remove-plugin",
    "move-plugin",
    "change-paths",
    "change-capabilities",
    "change-devices",
    "change-firewall",
];
const RESULT_GRANT: &str = "rewrite-result";

/// The warnings, in the order of the configuration's keys. `manifests` is the directory and what is
/// in it.
pub(super) fn of(
    configuration: &Configuration,
    module: &Compiled,
    manifests: Option<(&Path, &Objects)>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some((dir, objects)) = manifests {
        names(configuration, dir, objects, &mut warnings);
    }
    grants(configuration, module, &mut warnings);
    wanted(configuration, module, &mut warnings);
    limits(configuration, module, &mut warnings);
    warnings
}

fn names(configuration: &Configuration, dir: &Path, objects: &Objects, warnings: &mut Vec<String>) {
    let dir = dir.display();
    let namespaces: Vec<&str> = objects.namespace_names().into_iter().collect();
    let networks: Vec<String> = objects
        .nads()
        .iter()
        .map(|nad| format!("{}/{}", nad.namespace, nad.name))
        .collect();
    let names: Vec<&str> = objects.nads().iter().map(|nad| &*nad.name).collect();
    let networks: Vec<&str> = networks.iter().map(String::as_str).collect();
    let mut check = |key: &str, kind: &str, pattern: &str, known: &[&str]| {
        if known.iter().any(|known| matches(pattern, known)) {
            return;
        }
        let meant = suggest::similar(pattern, known);
        let hint = meant.map_or_else(String::new, |known| format!("; did you mean {known:?}?"));
        warnings.push(format!("{key} {pattern:?}: no such {kind} in {dir}{hint}"));
    };
    for pattern in configuration.namespaces() {
        check("match.namespaces", "namespace", pattern, &namespaces);
    }
    for pattern in configuration.networks() {
        let known = if pattern.contains('/') {
            &networks
        } else {
            &names
        };
        check("match.networks", "network", pattern, known);
    }
}

/// Whether a pattern, whose `*` may stand at the end, matches a name.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

fn grants(configuration: &Configuration, module: &Compiled, warnings: &mut Vec<String>) {
    let asked = module.asked();
    let hooks = module.hooks();
    // With the clock or random numbers, modules of other languages read WASI's.
    let has_wasi = module.imports_wasi();
    for grant in configuration.import_grants() {
        let through_wasi = has_wasi && matches!(grant, "clock" | "random");
        if !asked.contains(&grant) && !through_wasi {
            warnings.push(format!("grants {grant:?}: the module does not import it"));
        }
    }
    for grant in configuration.grants() {
        let hook = match grant {
            RESULT_GRANT => [Hook::AfterAdd, Hook::Finalize],
            grant if CONF_GRANTS.contains(&grant) => [Hook::BeforeAdd, Hook::BeforeAdd],
            _ => continue,
        };
        if !hook.iter().any(|hook| hooks.contains(hook)) {
            let hook = hook[0];
            warnings.push(format!(
                "grants {grant:?}: no effect, the module has no hook {hook}"
            ));
        }
    }
}

/// What the module wants by its own description, and does not get.
fn wanted(configuration: &Configuration, module: &Compiled, warnings: &mut Vec<String>) {
    let said = match module.description() {
        Ok(Some(said)) => said,
        Ok(None) => return,
        Err(reason) => {
            warnings.push(reason.to_owned());
            return;
        }
    };
    let (given, asked) = (configuration.grants(), module.asked());
    for grant in &said.grants {
        // What it imports without a grant does not load.
        let is_known = Configuration::is_edit_grant(grant);
        if is_known && !given.contains(&&**grant) {
            warnings.push(format!("grants: the module wants {grant:?}"));
        } else if !is_known && !asked.contains(&&**grant) {
            warnings.push(format!(
                "the module wants the grant {grant:?}, and does not import it"
            ));
        }
    }
    for (key, wants) in &said.limits {
        match configuration.limit(key) {
            Some(given) if given < *wants => {
                warnings.push(format!(
                    "limits.{key}: the module wants {wants}, not {given}"
                ));
            }
            Some(_) => {}
            None => warnings.push(format!(
                "the module wants a limit {key:?}, which does not exist"
            )),
        }
    }
}

fn limits(configuration: &Configuration, module: &Compiled, warnings: &mut Vec<String>) {
    let changed = configuration.changed_limits();
    let has_state = configuration.grants().contains(&"state");
    let hooks = module.hooks();
    let edits = EDITING.iter().any(|hook| hooks.contains(hook));
    for key in &changed {
        let reason = match *key {
            key if STATE.contains(&key) && !has_state => "the grant state is not given",
            key if EDITS.contains(&key) && !edits => "the module has no hook that edits",
            _ => continue,
        };
        warnings.push(format!("limits.{key}: no effect, {reason}"));
    }
    let of = |key| configuration.limit(key).unwrap_or_default();
    if changed.contains(&"requestTimeoutMs") && of("requestTimeoutMs") < of("timeoutMs") {
        let reason = "no effect, timeoutMs is larger";
        warnings.push(format!("limits.requestTimeoutMs: {reason}"));
    }
    if of("requestEditBytes") < of("editBytes") {
        warnings.push("limits.editBytes: no effect, requestEditBytes is smaller".to_owned());
    }
    if of("requestEditMembers") < of("editMembers") {
        warnings.push("limits.editMembers: no effect, requestEditMembers is smaller".to_owned());
    }
}
