//! The daemon's log: lines on standard error, in a file, or both.

mod levels;
mod prompt;
mod rotating;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Stderr, Write};
use std::sync::Arc;

use cni_types::text::deceives;
use parking_lot::Mutex;
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
    let lines =
        tracing_subscriber::fmt::layer().with_writer(move || Lines(Arc::clone(&sinks), format));
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
struct Lines(Arc<Sinks>, LogFormat);

impl Sinks {
    fn report(&self, line: &[u8]) {
        if let Some(stderr) = &self.stderr {
            let mut stderr = stderr.lock();
            stderr.write(line);
        }
    }
}

/// A line with the characters escaped that deceive readers; the formats escape those of ASCII.
fn visible(line: &[u8], format: LogFormat) -> Cow<'_, [u8]> {
    let is_hidden = |c: char| !c.is_ascii() && deceives(c);
    if line.is_ascii() {
        return Cow::Borrowed(line);
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return Cow::Borrowed(line);
    };
    if !text.contains(is_hidden) {
        return Cow::Borrowed(line);
    }
    let mut visible = String::with_capacity(2 * text.len());
    for c in text.chars() {
        match format {
            _ if !is_hidden(c) => visible.push(c),
            LogFormat::Text => visible.extend(c.escape_default()),
            LogFormat::Json => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(visible, "\\u{unit:04x}");
                }
            }
        }
    }
    Cow::Owned(visible.into_bytes())
}

impl Write for Lines {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        let line = &*visible(written, self.1);
        if let Some(file) = &self.0.file {
            let mut file = file.lock();
            if let Err(error) = file.write(line) {
                // Standard error is the only place left to report this.
                self.0
                    .report(format!("cannot write the log file: {error}\n").as_bytes());
            }
        }
        self.0.report(line);
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_visible_in_the_log() {
        let check = |text: &str, format, expected: &str| {
            let line = visible(text.as_bytes(), format);
            assert_eq!(std::str::from_utf8(&line), Ok(expected));
        };
        check("a\u{202e}b\n", LogFormat::Text, "a\\u{202e}b\n");
        check("ä\u{9b}2J\n", LogFormat::Text, "ä\\u{9b}2J\n");
        check("\u{1b}[1mä\n", LogFormat::Text, "\u{1b}[1mä\n");
        let text = "ä\u{200b}\u{feff}\u{e0041}";
        let json = serde_json::json!({ "m": text }).to_string();
        let expected = r#"{"m":"ä\u200b\ufeff\udb40\udc41"}"#;
        check(&json, LogFormat::Json, expected);
        let read: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(read["m"], text);
    }
}
