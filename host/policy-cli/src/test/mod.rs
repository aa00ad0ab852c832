//! `cnidaria policy test`: runs a directory of cases and compares what the policy does.

mod compare;
mod coverage;
mod find;
mod junit;
mod observe;
mod report;
mod watch;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use policy_engine::record::Recorded;

use crate::case::{self, Case, Verdict};
use crate::node::{Node, Surroundings};
use crate::policy::{self, Policy, Unloaded};
use crate::{FAILED, Output, runtime};
use compare::Difference;
use coverage::Coverage;
use observe::Observed;

/// What to test.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Directory of the project, or of the cases
    ///
    /// Cases are the YAML files in DIR/tests/cases, or else in DIR/tests or DIR itself.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The component; by default, DIR/policy.wasm
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// The policy's configuration; by default, DIR/policy.json if it exists
    #[arg(long, value_name = "JSON")]
    config: Option<PathBuf>,
    /// Run only cases whose names contain this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write a report in JUnit's format
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Show the hooks, denial codes and grants that no case reaches
    #[arg(long)]
    coverage: bool,
    /// Test again whenever the module, the configuration or a case changes
    #[arg(long)]
    watch: bool,
}

/// Why nothing was tested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The policy is not usable.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// A file of cases is not usable.
    #[error(transparent)]
    Case(#[from] case::Error),
    /// There is nothing to test.
    #[error("{dir} has no cases: no YAML files in tests/cases, tests or itself", dir = dir.display())]
    NoCases { dir: PathBuf },
    /// The files have no case, or none with the filter's text.
    #[error("{what}")]
    Nothing {
        /// What the cases lack.
        what: String,
    },
    /// The directory of the project or of the cases is not one.
    #[error("{dir} {what}", dir = dir.display())]
    NoDirectory {
        dir: PathBuf,
        /// What it is instead, and what to do.
        what: &'static str,
    },
    /// The module was not built.
    #[error("{path} does not exist: run `cnidaria policy build`, or name it with --module", path = path.display())]
    NoModule { path: PathBuf },
    /// The directory or the report cannot be read or written.
    #[error("{path}", path = path.display())]
    File {
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// A case that ran.
struct Ran<'c> {
    case: &'c Case,
    differences: Vec<Difference>,
    duration: Duration,
}

/// Runs the cases. The exit code is 3 if one fails.
///
/// # Errors
/// [`Error`] if a file is not usable.
pub fn test(args: &TestArgs) -> Result<Output, Error> {
    if args.watch {
        return watch::watch(args);
    }
    once(args)
}

fn once(args: &TestArgs) -> Result<Output, Error> {
    let files = find::files(args)?;
    let begun = Instant::now();
    let mut cases = Vec::new();
    for path in &files.cases {
        cases.extend(case::read(path)?);
    }
    if let Some(filter) = &args.filter {
        cases.retain(|case| case.name.contains(filter.as_str()));
    }
    if cases.is_empty() {
        let paths = files.cases.iter().map(|path| path.display().to_string());
        let paths: Vec<String> = paths.collect();
        let paths = paths.join(", ");
        let what = match &args.filter {
            Some(filter) => format!("no case of {paths} has {filter:?} in its name"),
            None => format!("{paths}: no document is a case"),
        };
        return Err(Error::Nothing { what });
    }
    let policy = Policy::open(&files.module, files.config.as_deref())?;
    // Of each case, only its own keys can be wrong.
    policy.checked()?;
    let hooks = policy.compiled.hooks();
    let hooks: Vec<&str> = hooks.iter().map(|hook| hook.as_str()).collect();
    if let Some(mistake) = cases.iter().find_map(|case| case.lacks(&hooks)) {
        return Err(mistake.into());
    }
    let loading = begun.elapsed();
    let mut coverage = Coverage::of(&policy, &cases);
    let begun = Instant::now();
    let ran: Vec<Ran<'_>> = runtime().block_on(async {
        let mut ran = Vec::with_capacity(cases.len());
        for case in &cases {
            ran.push(run(&policy, case, &mut coverage).await?);
        }
        Ok::<_, Error>(ran)
    })?;
    let running = begun.elapsed();
    if let Some(path) = &args.junit {
        let report = junit::report(&policy.name(), &ran);
        std::fs::write(path, report).map_err(|source| Error::File {
            path: path.clone(),
            source,
        })?;
    }
    let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut text = report::text(&ran, (loading, running), is_coloured);
    if args.coverage {
        text.push_str(&coverage.text());
    }
    let has_failed = ran.iter().any(|ran| !ran.differences.is_empty());
    Ok(Output {
        text,
        code: if has_failed { FAILED } else { 0 },
    })
}

/// What a policy was offered, and did, in one case.
#[derive(Debug, Clone)]
pub struct RecordedCase {
    /// The case's name.
    pub name: String,
    /// The settings, as JSON text.
    pub settings: String,
    /// Labels of namespaces, by namespace and key.
    pub namespace_labels: BTreeMap<(String, String), String>,
    /// What the policy has kept before.
    pub state: BTreeMap<String, Vec<u8>>,
    /// Why the policy does not load with these settings, if it does not.
    pub refusal: Option<String>,
    /// The requests, in order.
    pub requests: Vec<Recorded>,
}

/// Runs the cases on the component and records them, for tests of the same policy in other forms.
/// Cases whose policy does not load have no requests.
///
/// # Errors
/// [`Error`] if a file is not usable.
pub fn recorded(
    cases: &std::path::Path,
    module: &std::path::Path,
) -> Result<Vec<RecordedCase>, Error> {
    let policy = Policy::open(module, None)?;
    let mut recorded = Vec::new();
    for case in case::read(cases)? {
        let surroundings = Surroundings {
            is_recorded: true,
            ..case.surroundings.clone()
        };
        // In audit mode, what follows from edits would be missing.
        let mut config = case.config.clone();
        config.remove("mode");
        let (requests, refusal) = runtime().block_on(async {
            let loaded = match policy.load_with(&config).await {
                Ok(loaded) => loaded,
                Err(unloaded) => return (Vec::new(), Some(unloaded.text())),
            };
            let node = Node::new(&loaded, surroundings);
            let mut answers = case.answers.clone();
            for step in &case.steps {
                answers.extend(step.answers.clone().unwrap_or_default());
                node.answer_with(answers.clone());
                if let Some(clock) = step.clock {
                    node.set_clock(clock);
                }
                node.handle(&step.request).await;
            }
            (node.records(), None)
        });
        let settings = case.config.get("settings");
        recorded.push(RecordedCase {
            name: case.name,
            settings: settings.map_or("{}".to_owned(), ToString::to_string),
            namespace_labels: case.surroundings.objects.namespace_labels(),
            state: case
                .surroundings
                .state
                .into_iter()
                .map(|(key, state)| (key, state.value))
                .collect(),
            refusal,
            requests,
        });
    }
    Ok(recorded)
}

/// Runs one case on a node of its own.
///
/// # Errors
/// [`Error::Case`] for a mistake in its configuration.
async fn run<'c>(
    policy: &Policy,
    case: &'c Case,
    coverage: &mut Coverage,
) -> Result<Ran<'c>, Error> {
    let begun = Instant::now();
    let mut differences = Vec::new();
    match policy.load_with(&case.config).await {
        Ok(loaded) => {
            let node = Node::new(&loaded, case.surroundings.clone());
            let mut answers = case.answers.clone();
            node.answer_with(answers.clone());
            for (index, step) in case.steps.iter().enumerate() {
                if let Some(changed) = &step.answers {
                    answers.extend(changed.clone());
                    node.answer_with(answers.clone());
                }
                if let Some(clock) = step.clock {
                    node.set_clock(clock);
                }
                let answered = node.handle(&step.request).await;
                coverage.note(&answered.events);
                let observed = Observed::of(&step.request, &answered, &node);
                let title = match case.steps.len() {
                    1 => String::new(),
                    _ => format!("step {} ({})", index + 1, observe::describe(&step.request)),
                };
                differences.extend(compare::compare(&step.expect, &observed, title));
            }
        }
        Err(unloaded) => {
            if let Unloaded::Configuration(faults) = &*unloaded
                && let Some(fault) = faults.first().filter(|_| !case.expects_refusal())
            {
                return Err(case.mistake(fault).into());
            }
            let observed = Observed::refused(&unloaded.text());
            let refusal = case.steps.iter().map(|step| &step.expect);
            let expected = refusal
                .into_iter()
                .find(|expect| expect.verdict == Some(Verdict::Refused))
                .or(case.steps.first().map(|step| &step.expect));
            let title = match &*unloaded {
                Unloaded::Refused { fault, .. } => case.refusal(fault),
                Unloaded::Configuration(_) => None,
            };
            if let Some(expect) = expected {
                let title = title.unwrap_or_default();
                differences.extend(compare::compare(expect, &observed, title));
            }
        }
    }
    Ok(Ran {
        case,
        differences,
        duration: begun.elapsed(),
    })
}
