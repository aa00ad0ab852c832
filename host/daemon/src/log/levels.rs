//! How much is logged: as configured, or as an operator has set since, for some modules or for all.

use cnidaria_core::conf::logging::LogLevel;
use parking_lot::RwLock;
use shim_api::log::{LogChange, LogLevels};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use super::quotes_answers;
use crate::trace::Collector;

/// The crates whose modules can be named.
const CRATES: [&str; 8] = [
    "cnidaria_core",
    "cnidaria_daemon",
    "cnidaria_kube",
    "config",
    "daemon",
    "files",
    "libcni",
    "policy_engine",
];
const MAX_MODULES: usize = 16;
/// Bytes of a module's name.
const MAX_NAME: usize = 128;

/// Why the levels cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Not a level.
    #[error("{0:?} is not one of panic, error, warning, verbose and debug")]
    Level(String),
    /// Not a module of this project.
    #[error("{module:?} is not a module of {}, as the lines of the log name them", CRATES.join(", "))]
    Module { module: String },
    /// Too many modules.
    #[error("more than {MAX_MODULES} modules")]
    Count,
}

/// What is logged at present.
#[derive(Debug)]
pub(crate) struct Levels(RwLock<Now>);

#[derive(Debug)]
struct Now {
    configured: LogLevel,
    level: LogLevel,
    modules: Vec<(String, LogLevel)>,
}

/// The levels of this process' log.
pub(crate) static LEVELS: Levels = Levels::new(LogLevel::Warning);

impl Levels {
    const fn new(configured: LogLevel) -> Self {
        Self(RwLock::new(Now {
            configured,
            level: configured,
            modules: Vec::new(),
        }))
    }

    /// Sets the level of the configuration, before the first line.
    pub(super) fn configure(&self, configured: LogLevel) {
        let mut now = self.0.write();
        (now.configured, now.level) = (configured, configured);
    }

    /// The levels as the socket's clients get them.
    pub(crate) fn shown(&self) -> LogLevels {
        self.look(|now| LogLevels {
            configured: now.configured.as_str().to_owned(),
            level: now.level.as_str().to_owned(),
            modules: now
                .modules
                .iter()
                .map(|(module, level)| (module.clone(), level.as_str().to_owned()))
                .collect(),
        })
    }

    /// Changes the levels until the process ends.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed then.
    pub(crate) fn change(&self, change: &LogChange) -> Result<(), Error> {
        let parse = |text: &str| LogLevel::parse(text).ok_or_else(|| Error::Level(shorten(text)));
        if change.modules.len() > MAX_MODULES {
            return Err(Error::Count);
        }
        let level = change.level.as_deref().map(parse).transpose()?;
        let mut modules = Vec::new();
        for (module, level) in &change.modules {
            let first = module.split("::").next().unwrap_or_default();
            if !CRATES.contains(&first) || module.len() > MAX_NAME {
                let module = shorten(module);
                return Err(Error::Module { module });
            }
            modules.push((module.clone(), parse(level)?));
        }
        let mut now = self.0.write();
        now.level = level.unwrap_or(now.configured);
        now.modules = modules;
        drop(now);
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    fn logs(&self, line: &Metadata<'_>) -> bool {
        let level = self.look(|now| {
            let modules = now.modules.iter();
            let above = modules.filter(|(module, _)| is_within(line.target(), module));
            let nearest = above.max_by_key(|(module, _)| module.len());
            nearest.map_or(now.level, |(_, level)| *level)
        });
        *line.level() <= least(level)
    }

    fn look<T>(&self, look: impl FnOnce(&Now) -> T) -> T {
        look(&self.0.read())
    }
}

/// The least severe lines of a level.
fn least(level: LogLevel) -> Level {
    match level {
        LogLevel::Panic | LogLevel::Error => Level::ERROR,
        LogLevel::Warning => Level::WARN,
        LogLevel::Verbose => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    }
}

fn is_within(target: &str, module: &str) -> bool {
    let rest = target.strip_prefix(module);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Passes the lines that are logged. Those of traces' spans are not.
#[derive(Debug)]
pub(super) struct Logged(pub(super) &'static Levels);

impl Logged {
    fn passes(&self, line: &Metadata<'_>) -> bool {
        self.0.logs(line) && !quotes_answers(line) && !Collector::collects(line)
    }
}

impl<S: Subscriber> Filter<S> for Logged {
    fn enabled(&self, line: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.passes(line)
    }

    /// Cached until the levels change.
    fn callsite_enabled(&self, line: &'static Metadata<'static>) -> Interest {
        match self.passes(line) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let most = self.0.look(|now| {
            let modules = now.modules.iter().map(|(_, level)| least(*level));
            modules.chain([least(now.level)]).max()
        });
        most.map(LevelFilter::from_level)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

    use super::*;

    fn change(level: Option<&str>, modules: &[(&str, &str)]) -> LogChange {
        let modules = modules.iter();
        LogChange {
            level: level.map(str::to_owned),
            modules: modules
                .map(|(module, level)| ((*module).to_owned(), (*level).to_owned()))
                .collect(),
        }
    }

    /// Keeps the messages that pass.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Seen {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_change_takes_effect_at_once() {
        let levels: &'static Levels = Box::leak(Box::new(Levels::new(LogLevel::Warning)));
        let seen = Seen::default();
        let writer = seen.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(Logged(levels)));
        let _guard = tracing::subscriber::set_default(subscriber);
        // The same callsites each time: what they cached has to be forgotten.
        let log = || {
            tracing::debug!(target: "cnidaria_kube::cache", "DEEP");
            tracing::info!(target: "cnidaria_core", "LINE");
            tracing::debug!(target: "kube_client", "ANSWER");
            let text = String::from_utf8(std::mem::take(&mut *seen.0.lock().unwrap())).unwrap();
            ["DEEP", "LINE", "ANSWER"].map(|word| text.contains(word))
        };
        for (change, expected) in [
            (change(None, &[]), [false, false, false]),
            (change(Some("verbose"), &[]), [false, true, false]),
            (
                change(None, &[("cnidaria_kube", "debug")]),
                [true, false, false],
            ),
            (
                change(
                    Some("debug"),
                    &[
                        ("cnidaria_kube", "debug"),
                        ("cnidaria_kube::cache", "error"),
                    ],
                ),
                [false, true, false],
            ),
            (
                change(None, &[("cnidaria_kube::cac", "debug")]),
                [false, false, false],
            ),
            (change(Some("error"), &[]), [false, false, false]),
        ] {
            levels.change(&change).unwrap();
            assert_eq!(log(), expected, "{change:?}");
        }
        levels.change(&LogChange::default()).unwrap();
        assert_eq!(levels.shown().level, "warning");
    }

    #[test]
    fn a_wrong_change_changes_nothing() {
        let levels = Levels::new(LogLevel::Verbose);
        let many: BTreeMap<String, String> = (0..17)
            .map(|number| (format!("daemon::m{number}"), "debug".to_owned()))
            .collect();
        let many = LogChange {
            level: None,
            modules: many,
        };
        for (change, expected) in [
            (change(Some("loud"), &[]), Error::Level("loud".into())),
            (change(None, &[("daemon", "")]), Error::Level(String::new())),
            (
                change(Some("debug"), &[("deamon", "debug")]),
                Error::Module {
                    module: "deamon".into(),
                },
            ),
            (many, Error::Count),
        ] {
            assert_eq!(levels.change(&change), Err(expected));
            assert_eq!(levels.shown().level, "verbose");
            assert!(levels.shown().modules.is_empty());
        }
    }
}
