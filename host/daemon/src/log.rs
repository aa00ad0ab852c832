//! The daemon's log: lines on standard error.

use tracing::Level;

use crate::config::daemon::{LogFormat, LogLevel};

/// Begins to log. Called once, before anything is worth a line.
pub fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Panic | LogLevel::Error => Level::ERROR,
        LogLevel::Warning => Level::WARN,
        LogLevel::Verbose => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
