//! The daemon's log: lines on standard error, in a file, or both.

mod rotating;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::trace::Collector;
use cnidaria_core::conf::logging::{LogLevel, Logging};
use config::own::LogFormat;
use rotating::RotatingFile;

/// Starts logging, and the collection of traces if there is a collector. Called once, before the first
/// log line. A file that cannot be opened is reported and ignored, since no pod depends on it.
pub fn start(logging: &Logging, format: LogFormat, collector: Option<Collector>) {
    let level = match logging.level {
        LogLevel::Panic | LogLevel::Error => Level::ERROR,
        LogLevel::Warning => Level::WARN,
        LogLevel::Verbose => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    let (file, problem) = open(logging);
    // Without a file, log to standard error anyway.
    let stderr = logging.to_stderr || problem.is_some();
    let ansi = stderr && file.is_none() && io::stderr().is_terminal();
    let sinks = Arc::new(Sinks { stderr, file });
    let lines = tracing_subscriber::fmt::layer().with_writer(move || Lines(Arc::clone(&sinks)));
    let lines = match format {
        LogFormat::Text => lines.with_ansi(ansi).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Lines do not repeat what the spans of traces have.
    let logged = filter_fn(move |line| {
        *line.level() <= level && !quotes_answers(line) && !Collector::collects(line)
    });
    let logged = logged.with_max_level_hint(LevelFilter::from_level(level));
    let traced = filter_fn(Collector::collects).with_max_level_hint(LevelFilter::INFO);
    let collector = collector.map(|collector| collector.with_filter(traced));
    tracing_subscriber::registry()
        .with(lines.with_filter(logged))
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
    stderr: bool,
    file: Option<Mutex<RotatingFile>>,
}

/// One line, in a single write.
struct Lines(Arc<Sinks>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(file) = &self.0.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = file.write(line) {
                // Standard error is the only place left to report this.
                let _ = writeln!(io::stderr(), "cannot write the log file: {error}");
            }
        }
        if self.0.stderr {
            io::stderr().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
