//! `cnidaria policy new`: creates a project from the files inside this binary.

mod create;
pub(crate) mod hooks;
mod name;
mod typescript;
mod values;

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use policy_engine::Hook;

use crate::language::Language;
use crate::{Output, files};
use name::Name;

/// Where and what to create.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the policy: lower-case letters, digits and dashes
    #[arg(value_name = "NAME")]
    name: String,
    /// Language of the policy
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,
    /// Hooks of the policy, separated by commas
    #[arg(
        long,
        value_name = "HOOKS",
        value_delimiter = ',',
        default_value = "select,before-add,after-add"
    )]
    hooks: Vec<String>,
    /// Directory of the project; by default, NAME in the current directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Why no project was created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name is not valid.
    #[error("name {name:?}: {reason}")]
    Name {
        name: String,
        /// Which rule it breaks, and a name that is probably meant.
        reason: String,
    },
    /// The hook does not exist.
    #[error("--hooks: unknown hook {name:?}; {hint}")]
    Hook {
        name: String,
        /// A suggestion, or the known names.
        hint: String,
    },
    /// No hook was chosen.
    #[error("--hooks: a policy needs at least one hook")]
    NoHooks,
    /// Files of the project exist.
    #[error("{path} exists; new does not overwrite files: choose another name or --dir", path = path.display())]
    Exists {
        /// The first of them.
        path: PathBuf,
    },
    /// The project's directory is something else.
    #[error("{path} is not a directory: choose another name or --dir", path = path.display())]
    NotDirectory { path: PathBuf },
    /// The WIT package inside this binary is wrong.
    #[error("cannot make types of the WIT package: {reason}")]
    Types {
        /// Why.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Error {
    /// Whether the command line is wrong, rather than the file system.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Name { .. } | Self::Hook { .. } | Self::NoHooks)
    }
}

/// Creates a project and says what comes next.
///
/// # Errors
/// [`Error`]; nothing of the project is left then.
pub fn new(args: &NewArgs) -> Result<Output, Error> {
    let name = Name::new(&args.name)?;
    let hooks = hooks::parse(&args.hooks)?;
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(name.as_str()));
    let project = project(&name, args.lang, &hooks)?;
    create::create(&dir, &project)?;
    Ok(Output::success(next(&dir, args.lang, &hooks)))
}

/// The project's files: path and text.
fn project(
    name: &Name,
    language: Language,
    hooks: &[Hook],
) -> Result<Vec<(String, String)>, Error> {
    let values = values::of(name, language, hooks);
    let templates = files::below(language.templates());
    let mut project: Vec<(String, String)> = templates
        .map(|(path, text)| (path.trim_end_matches(".in").to_owned(), values.fill(text)))
        .collect();
    let common = |template: &str| {
        let found = files::below("templates/common").find(|(path, _)| *path == template);
        values.fill(found.map(|(_, text)| text).unwrap_or_default())
    };
    project.push(("pod.yaml".to_owned(), common("pod.yaml.in")));
    project.push(("nads.yaml".to_owned(), common("nads.yaml.in")));
    project.push(("tests/cases/cases.yaml".to_owned(), common("cases.yaml.in")));
    project.push((
        ".github/workflows/policy.yaml".to_owned(),
        common("ci.yaml.in"),
    ));
    project.push((
        "policy.json".to_owned(),
        values::configuration(language, hooks),
    ));
    project.push((".gitignore".to_owned(), ignored(language).to_owned()));
    if language == Language::JavaScript {
        project.push(("package-lock.json".to_owned(), values::package_lock(name)));
        let types = typescript::declarations(files::below(values::WIT_DIR));
        let types = types.map_err(|reason| Error::Types { reason })?;
        project.push(("types/cnidaria-policy.d.ts".to_owned(), types));
    }
    match language {
        Language::Rust => {
            let sdk = files::below("sdk");
            project.extend(sdk.map(|(path, text)| (format!("sdk/{path}"), text.to_owned())));
        }
        _ => {
            project.push(("wit/policy.wit".to_owned(), common("policy.wit.in")));
            let package = files::below(values::WIT_DIR);
            project.extend(
                package.map(|(path, text)| {
                    (format!("wit/deps/cnidaria-policy/{path}"), text.to_owned())
                }),
            );
        }
    }
    Ok(project)
}

fn ignored(language: Language) -> &'static str {
    match language {
        Language::Rust => "target/\n*.wasm\n",
        Language::JavaScript => "node_modules/\n*.wasm\n",
        Language::Python => "venv/\n__pycache__/\n*.wasm\n",
        Language::C => "bindings/\n*.wasm\n",
    }
}

fn next(dir: &Path, language: Language, hooks: &[Hook]) -> String {
    let hooks: Vec<&str> = hooks.iter().map(|hook| hook.as_str()).collect();
    format!(
        "created {dir}, a policy in {language} with the hooks {hooks}\n\
         \n\
         next:\n\
         \x20 cd {dir}\n\
         \x20 cnidaria policy build\n\
         \x20 cnidaria policy test\n",
        dir = quoted(dir),
        language = language.as_str(),
        hooks = hooks.join(", "),
    )
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let shown = path.display().to_string();
    let is_plain = |character: char| character.is_alphanumeric() || "/._-+@:,".contains(character);
    match shown.chars().all(is_plain) {
        true => shown,
        false => format!("'{}'", shown.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests;
