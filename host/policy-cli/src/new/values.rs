//! What the templates of a project are filled with.

use policy_engine::Hook;
use serde_json::{Map, Value, json};

use super::name::Name;
use crate::files;
use crate::language::Language;
use crate::template::Values;

/// The version of the WIT package that projects without the SDK target.
const WIT: &str = "0.3.0";

/// The embedded directory of that version.
pub(super) const WIT_DIR: &str = "sdk/wit/policy-0.3.0";

/// The name in the lock file of the example in JavaScript.
const EXAMPLE: &str = "example-policy";

/// The lock file of a project in JavaScript, with the tools that this release was tested with.
pub(super) fn package_lock(name: &Name) -> String {
    files::text("tools/javascript/package-lock.json").replace(EXAMPLE, name.as_str())
}

/// The version of componentize-qjs in that lock file.
fn componentize_qjs() -> String {
    let lock: Value =
        serde_json::from_str(files::text("tools/javascript/package-lock.json")).unwrap_or_default();
    let version = lock.pointer("/packages//devDependencies/componentize-qjs");
    let version = version.and_then(Value::as_str);
    version.unwrap_or_default().to_owned()
}

/// A setting of the templates: the hook that uses it, its default, and an example.
struct Setting {
    hook: Hook,
    key: &'static str,
    default: &'static str,
    example: fn() -> Value,
}

const SETTINGS: [Setting; 4] = [
    Setting {
        hook: Hook::Select,
        key: "deniedNetworks",
        default: "[]",
        example: || json!(["default/legacy"]),
    },
    Setting {
        hook: Hook::BeforeAdd,
        key: "mtu",
        default: "",
        example: || json!(9000),
    },
    Setting {
        hook: Hook::AfterAdd,
        key: "search",
        default: "[]",
        example: || json!(["corp.example"]),
    },
    Setting {
        hook: Hook::Status,
        key: "maintenance",
        default: "false",
        example: || json!(false),
    },
];

fn settings(hooks: &[Hook]) -> impl Iterator<Item = &'static Setting> {
    SETTINGS
        .iter()
        .filter(|setting| hooks.contains(&setting.hook))
}

/// The configuration of the policy, with example settings.
pub(super) fn configuration(language: Language, hooks: &[Hook]) -> String {
    let mut configuration = Map::new();
    let examples: Map<String, Value> = settings(hooks)
        .map(|setting| (setting.key.to_owned(), (setting.example)()))
        .collect();
    configuration.insert("settings".to_owned(), Value::Object(examples));
    if language == Language::Python {
        // The interpreter needs more than the defaults.
        configuration.insert(
            "limits".to_owned(),
            json!({"memoryBytes": 134_217_728, "tableElements": 50_000, "instances": 64, "tables": 16}),
        );
    }
    // A map of strings has JSON.
    serde_json::to_string_pretty(&Value::Object(configuration)).unwrap_or_default() + "\n"
}

/// What a project's templates are filled with.
pub(super) fn of(name: &Name, language: Language, hooks: &[Hook]) -> Values {
    let mut values = Values {
        words: hooks.iter().map(|hook| hook.as_str()).collect(),
        ..Values::default()
    };
    let mut text = |key, text: String| {
        values.texts.insert(key, text);
    };
    text("name", name.as_str().to_owned());
    text("crate", name.as_crate());
    text("Type", name.as_type());
    text("package", name.as_str().to_owned());
    text("wit", WIT.to_owned());
    text("module", "policy.wasm".to_owned());
    text("componentize_qjs", componentize_qjs());
    text(
        "requirements",
        files::text("tools/python/requirements.txt").to_owned(),
    );
    let rust = hooks.iter().map(|hook| hook.as_str().replace('-', "_"));
    text("rust_hooks", rust.collect::<Vec<_>>().join(", "));
    let exports = hooks
        .iter()
        .map(|hook| format!("  export cnidaria:policy/{hook}@{WIT};\n"));
    text("exports", exports.collect());
    let known: Vec<&str> = settings(hooks).map(|setting| setting.key).collect();
    text("known", known.join(", "));
    text("js_settings", known.join(", "));
    text("js_known", js_known(hooks));
    text("py_defaults", py_defaults(hooks));
    text("py_types", py_types(hooks));
    text("ci", setup(language).to_owned());
    let readme = files::below("templates/common").find(|(path, _)| *path == "README.md.in");
    let readme = values.fill(readme.map(|(_, text)| text).unwrap_or_default());
    values.texts.insert("common", readme);
    values
}

/// The members of the settings in a destructuring assignment, with their defaults.
fn js_known(hooks: &[Hook]) -> String {
    settings(hooks)
        .map(|setting| match setting.default {
            "" => format!("{}, ", setting.key),
            default => format!("{} = {default}, ", setting.key),
        })
        .collect()
}

fn py_defaults(hooks: &[Hook]) -> String {
    let members = settings(hooks).map(|Setting { key, default, .. }| match *default {
        "" => format!("{key:?}: None"),
        "false" => format!("{key:?}: False"),
        default => format!("{key:?}: {default}"),
    });
    members.collect::<Vec<_>>().join(", ")
}

/// The types that the hooks of a policy in Python name.
fn py_types(hooks: &[Hook]) -> String {
    let of = |hook: &Hook| -> &[&str] {
        match hook {
            Hook::Select => &[
                "Denial",
                "Request",
                "Selections",
                "Verdict",
                "Verdict_Accept",
                "Verdict_Deny",
            ],
            Hook::ValidateSelections => &[
                "Denial",
                "Request",
                "Selections",
                "Verdict",
                "Verdict_Accept",
                "Verdict_Deny",
            ],
            Hook::ValidatePlan => &[
                "Denial",
                "Plan",
                "Request",
                "Verdict",
                "Verdict_Accept",
                "Verdict_Deny",
            ],
            Hook::ValidateResult => &[
                "Denial",
                "Outcome",
                "Plan",
                "Request",
                "Verdict",
                "Verdict_Accept",
                "Verdict_Deny",
            ],
            Hook::AddFailed => &["Failure", "Finding", "Plan", "Request", "Severity"],
            Hook::BeforeAdd => &[
                "Attachment",
                "Denial",
                "Plan",
                "Request",
                "Verdict",
                "Verdict_Accept",
                "Verdict_Deny",
            ],
            Hook::AfterAdd => &[
                "Attachment",
                "Denial",
                "Outcome",
                "Request",
                "Verdict",
                "Verdict_Accept",
                "Verdict_Deny",
            ],
            Hook::Finalize => &["Outcome", "Plan", "Request", "Verdict", "Verdict_Accept"],
            Hook::Check => &["Attachment", "Denial", "Outcome", "Request"],
            Hook::Del => &["Attachment", "Finding", "Outcome", "Request", "Severity"],
            Hook::Gc => &["Finding", "Severity", "ValidAttachment"],
            _ => &[],
        }
    };
    let mut types: Vec<&str> = hooks.iter().flat_map(of).copied().collect();
    types.sort_unstable();
    types.dedup();
    types.join(", ")
}

/// The steps that install the language's toolchain in CI.
fn setup(language: Language) -> &'static str {
    match language {
        Language::Rust => {
            "      - run: rustup target add wasm32-unknown-unknown\n      - run: cargo test"
        }
        Language::JavaScript => {
            "      - uses: actions/setup-node@v4\n        with: { node-version: 22 }"
        }
        Language::Python => {
            "      - uses: actions/setup-python@v5\n        with: { python-version: \"3.12\" }"
        }
        Language::C => {
            "      - run: sudo apt-get update && sudo apt-get install --no-install-recommends --yes clang lld wasi-libc"
        }
    }
}
