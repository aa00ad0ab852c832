//! The daemon's log: lines on standard error, in a file, or both.

mod levels;
mod prompt;
mod rotating;

use std::io::{self, IsTerminal, Stderr, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::trace::Collector;
use cnidaria_core::conf::logging::Logging;
use config::own::LogFormat;
pub(crate) use levels::LEVELS;
use levels::Logged;
use prompt::PromptWriter;
use rotating::RotatingFile;

/// Starts logging, and the collection of traces if there is a collector. Called once, before the first
/// log line. A file that cannot be opened is reported and ignored, since no pod depends on it.
pub fn start(logging: &Logging, format: LogFormat, collector: Option<Collector>) {
    LEVELS.configure(logging.level);
    let (file, problem) = open(logging);
    // Without a file, log to standard error anyway.
    let stderr = logging.to_stderr || problem.is_some();
    let ansi = stderr && file.is_none() && io::stderr().is_terminal();
    let stderr = stderr.then(|| Mutex::new(PromptWriter::new(io::stderr(), format)));
    let sinks = Arc::new(Sinks { stderr, file });
    let lines = tracing_subscriber::fmt::layer().with_writer(move || Lines(Arc::clone(&sinks)));
    let lines = match format {
        LogFormat::Text => lines.with_ansi(ansi).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let traced = filter_fn(Collector::collects).with_max_level_hint(LevelFilter::INFO);
    let collector = collector.map(|collector| collector.with_filter(traced));
    tracing_subscriber::registry()
        .with(lines.with_filter(Logged(&LEVELS)))
        .with(collector)
        .init();
    if let Some(error) = problem {
        tracing::error!(file = ?logging.file, %error, "logFile cannot be opened");
    }
}

/// Matches the API client's warnings, which repeat with every retry. Its caller gets the same
/// errors and logs them once; the client's lines quote whole answers, which may be confs with
/// credentials.
fn quotes_answers(line: &Metadata<'_>) -> bool {
    line.target().starts_with("kube_") && *line.level() != Level::ERROR
}

fn open(logging: &Logging) -> (Option<Mutex<RotatingFile>>, Option<io::Error>) {
    let Some(path) = &logging.file else {
        return (None, None);
    };
    match RotatingFile::open(path, logging.rotation.clone()) {
        Ok(file) => (Some(Mutex::new(file)), None),
        Err(error) => (None, Some(error)),
    }
}

/// Where lines go.
struct Sinks {
    stderr: Option<Mutex<PromptWriter<Stderr>>>,
    file: Option<Mutex<RotatingFile>>,
}

/// One line, in a single write. Never fails: `tracing_subscriber` reports an error on standard error,
/// and panics where that cannot be written, in the middle of a request.
struct Lines(Arc<Sinks>);

impl Sinks {
    fn report(&self, line: &[u8]) {
        if let Some(stderr) = &self.stderr {
            let mut stderr = stderr.lock().unwrap_or_else(PoisonError::into_inner);
            stderr.write(line);
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(file) = &self.0.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = file.write(line) {
                // Standard error is the only place left to report this.
                self.0
                    .report(format!("cannot write the log file: {error}\n").as_bytes());
            }
        }
        self.0.report(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
