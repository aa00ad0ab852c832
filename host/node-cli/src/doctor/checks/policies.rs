//! Policies: what is in their directories, and what the daemon makes of it.

use std::collections::BTreeSet;
use std::path::Path;

use shim_api::admin::{Policy, PolicyState};

use super::Check;
use crate::doctor::Severity::{Error, Notice, Warning};
use crate::doctor::node::{Daemon, Node};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "Y801",
        severity: Error,
        title: "the directory of policy modules is missing",
        why: "The daemon cannot tell which policies apply, so ADDs fail or run without them.",
        mend: "Create cnidaria.policies.modules, or correct the path: the daemon sees its container's file system.",
        pre: false,
        run: no_modules,
    },
    Check {
        code: "Y802",
        severity: Error,
        title: "the directory of policy configurations is missing",
        why: "The daemon cannot tell which policies are configured.",
        mend: "Create cnidaria.policies.configs, or mount the ConfigMap cnidaria-policies there.",
        pre: false,
        run: no_configs,
    },
    Check {
        code: "Y803",
        severity: Warning,
        title: "there are policies where the daemon does not look",
        why: "They are not in force.",
        mend: "Set cnidaria.policies.modules to the directory, or move the files.",
        pre: false,
        run: elsewhere,
    },
    Check {
        code: "Y804",
        severity: Error,
        title: "a policy is broken",
        why: "Pods that it may apply to do not start, unless its failure policy is open.",
        mend: "`cnidaria policy list` shows why. Check the files with `cnidaria policy check`.",
        pre: false,
        run: broken,
    },
    Check {
        code: "Y805",
        severity: Warning,
        title: "a policy's newest files did not load",
        why: "The version before stays in force.",
        mend: "`cnidaria policy list` shows why. Correct the file, or restore the one before.",
        pre: false,
        run: stale,
    },
    Check {
        code: "Y806",
        severity: Error,
        title: "a policy is in quarantine",
        why: "The daemon ended during a call of its module, and does not load it again by itself.",
        mend: "Replace the module. If it was not the cause, run `cnidaria policy release NAME`.",
        pre: false,
        run: quarantined,
    },
    Check {
        code: "Y807",
        severity: Warning,
        title: "calls of a policy have failed",
        why: "A call that traps or exceeds its limits fails the ADD, unless the failure policy is open.",
        mend: "`cnidaria policy list` shows the last error; the daemon's log has each one with its pod.",
        pre: false,
        run: failing,
    },
    Check {
        code: "Y808",
        severity: Warning,
        title: "a policy asks for something that its configuration does not grant",
        why: "Calls of these host functions fail.",
        mend: "Add the grant to `grants` in the policy's configuration, if you want to give it.",
        pre: false,
        run: not_granted,
    },
    Check {
        code: "Y809",
        severity: Notice,
        title: "a policy was never called",
        why: "Attachments were made since it was loaded, so its `match` fits none of them; or it has no hook that they reach.",
        mend: "Compare `match` with the pods that it is meant for.",
        pre: false,
        run: never_called,
    },
    Check {
        code: "Y810",
        severity: Warning,
        title: "the file that bypasses all policies exists",
        why: "No policy runs on this node.",
        mend: "Remove the file when the emergency is over.",
        pre: false,
        run: bypassed,
    },
    Check {
        code: "Y811",
        severity: Error,
        title: "a required policy is missing",
        why: "STATUS and all ADDs fail until it is loaded.",
        mend: "Install its module and its configuration, or remove it from cnidaria.policies.required.",
        pre: false,
        run: required,
    },
    Check {
        code: "Y812",
        severity: Error,
        title: "a policy's configuration names a module that is missing",
        why: "The policy is broken: pods that it applies to do not start.",
        mend: "Put the module into cnidaria.policies.modules, or correct `module`.",
        pre: false,
        run: no_module,
    },
    Check {
        code: "Y813",
        severity: Error,
        title: "others than root can write to the directory of policies",
        why: "Policies decide about all pods' networks.",
        mend: "Make root the owner of the directory, and remove the write permission of group and others.",
        pre: false,
        run: exposed,
    },
];

/// Where modules usually are: on the node, and in the image.
const USUAL: &str = "/etc/cnidaria/policies";

fn policies(node: &Node) -> &[Policy] {
    match &node.daemon {
        Daemon::Serving { policies, .. } => &policies.policies,
        _ => &[],
    }
}

fn in_state(node: &Node, states: &[PolicyState]) -> Vec<String> {
    let policies = policies(node).iter();
    policies
        .filter(|policy| states.contains(&policy.state))
        .map(|policy| {
            let error = policy
                .last_error
                .as_deref()
                .unwrap_or("no reason is recorded");
            format!("{} ({}): {error}", policy.name, policy.file)
        })
        .collect()
}

fn no_modules(node: &Node) -> Vec<String> {
    let Some(policies) = &node.settings.own.policies else {
        return Vec::new();
    };
    match policies.modules.is_dir() {
        true => Vec::new(),
        false => vec![format!("{} is not a directory", policies.modules.display())],
    }
}

fn no_configs(node: &Node) -> Vec<String> {
    let configs = node.settings.own.policies.as_ref();
    match configs.and_then(|policies| policies.configs.as_ref()) {
        Some(configs) if !configs.is_dir() => {
            vec![format!("{} is not a directory", configs.display())]
        }
        _ => Vec::new(),
    }
}

/// Files of a directory with an extension, without their directory.
fn with_extension(dir: &Path, extension: &str) -> Vec<String> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = files.map(|file| file.path());
    let fits = |path: &std::path::PathBuf| path.extension().is_some_and(|found| found == extension);
    let names = paths
        .filter(fits)
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

fn elsewhere(node: &Node) -> Vec<String> {
    if !matches!(node.config, Some(Ok(_))) {
        return Vec::new();
    }
    let policies = node.settings.own.policies.as_ref();
    let looks_in: BTreeSet<&Path> = policies
        .into_iter()
        .flat_map(|policies| {
            [
                Some(policies.modules.as_path()),
                policies.configs.as_deref(),
            ]
        })
        .flatten()
        .collect();
    let usual = node.at(USUAL);
    let is_used = looks_in
        .iter()
        .any(|dir| *dir == usual || *dir == Path::new(USUAL));
    let count = ["wasm", "json"].map(|extension| with_extension(&usual, extension).len());
    let count: usize = count.iter().sum();
    if is_used || count == 0 {
        return Vec::new();
    }
    vec![match policies {
        Some(policies) => format!(
            "{} has {count} files, cnidaria.policies.modules is {}",
            usual.display(),
            policies.modules.display()
        ),
        None => format!(
            "{} has {count} files, cnidaria.policies is not set",
            usual.display()
        ),
    }]
}

fn broken(node: &Node) -> Vec<String> {
    // Those without a module have a check of their own.
    let missing = no_module(node);
    let mut found = in_state(node, &[PolicyState::Broken]);
    found.retain(|one| {
        let name = one.split(' ').next().unwrap_or_default();
        !missing
            .iter()
            .any(|other| other.starts_with(&format!("{name}:")))
    });
    found
}

fn stale(node: &Node) -> Vec<String> {
    in_state(node, &[PolicyState::Stale])
}

fn quarantined(node: &Node) -> Vec<String> {
    in_state(node, &[PolicyState::Quarantined])
}

fn failing(node: &Node) -> Vec<String> {
    let failing = policies(node)
        .iter()
        .filter(|policy| policy.state == PolicyState::Loaded && policy.counts.failures > 0);
    failing
        .map(|policy| {
            let error = policy.last_error.as_deref().unwrap_or_default();
            format!(
                "{}: {} failures; {error}",
                policy.name, policy.counts.failures
            )
        })
        .collect()
}

fn not_granted(node: &Node) -> Vec<String> {
    let policies = policies(node).iter();
    policies
        .filter_map(|policy| {
            let asked = policy.grants_asked.iter();
            let missing: Vec<&str> = asked
                .filter(|grant| !policy.grants_given.contains(grant))
                .map(String::as_str)
                .collect();
            let shown = format!("{}: {}", policy.name, missing.join(", "));
            (!missing.is_empty()).then_some(shown)
        })
        .collect()
}

fn never_called(node: &Node) -> Vec<String> {
    let policies = policies(node);
    // Attachments from before a policy was loaded say nothing about it.
    if !policies.iter().any(|policy| policy.counts.evaluations > 0) {
        return Vec::new();
    }
    let idle = policies
        .iter()
        .filter(|policy| policy.state == PolicyState::Loaded && policy.counts.evaluations == 0);
    idle.map(|policy| format!("{} ({})", policy.name, policy.file))
        .collect()
}

fn bypassed(node: &Node) -> Vec<String> {
    let policies = node.settings.own.policies.as_ref();
    match policies.and_then(|policies| policies.bypass_file.as_ref()) {
        Some(file) if file.exists() => vec![file.display().to_string()],
        _ => Vec::new(),
    }
}

fn required(node: &Node) -> Vec<String> {
    let Daemon::Serving { policies, .. } = &node.daemon else {
        return Vec::new();
    };
    let required = node.settings.own.policies.as_ref();
    let required = required.into_iter().flat_map(|policies| &policies.required);
    let is_there = |name: &String| policies.policies.iter().any(|policy| policy.name == *name);
    required
        .filter(|name| !is_there(name))
        .map(|name| format!("{name} is required, and the daemon has no such policy"))
        .collect()
}

fn no_module(node: &Node) -> Vec<String> {
    let Some(policies) = &node.settings.own.policies else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let dirs: BTreeSet<&Path> = [
        Some(policies.modules.as_path()),
        policies.configs.as_deref(),
    ]
    .into_iter()
    .flatten()
    .collect();
    for dir in dirs {
        for name in with_extension(dir, "json") {
            let text = files::read(&dir.join(&name), files::Links::Follow, 1 << 20);
            let config = text
                .ok()
                .and_then(|text| cni_types::json::RawObject::parse(text).ok());
            let Some(config) = config else {
                continue;
            };
            let stem = name.trim_end_matches(".json");
            let module = config.get_as::<String>("module").ok().flatten();
            let module = module.unwrap_or_else(|| format!("{stem}.wasm"));
            if !policies.modules.join(&module).exists() && policies.modules.is_dir() {
                let modules = policies.modules.display();
                found.push(format!("{stem}: {modules} has no {module}"));
            }
        }
    }
    found
}

fn exposed(node: &Node) -> Vec<String> {
    let policies = node.settings.own.policies.as_ref();
    let dirs = policies.into_iter().flat_map(|policies| {
        [
            Some(&policies.modules),
            policies.configs.as_ref(),
            Some(&policies.cache),
            Some(&policies.state),
        ]
    });
    dirs.flatten()
        .filter_map(|dir| {
            let exposed = super::exposed(dir).filter(|_| !super::is_sticky(dir))?;
            // A mounted ConfigMap is read-only, whatever its mode.
            let is_writable = rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok();
            is_writable.then_some(exposed)
        })
        .collect()
}
