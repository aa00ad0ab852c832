//! The keys of the log: destination, level and rotation.

use std::path::PathBuf;

use super::value;
use crate::domain::members::similar;
use cni_types::json::RawObject;

/// The key with the options of the log file.
const OPTIONS: &str = "logOptions";

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Only what stops the daemon.
    Panic,
    /// Requests that failed.
    Error,
    /// Problems that need attention: the default.
    #[default]
    Warning,
    /// Every request.
    Verbose,
    /// Everything.
    Debug,
}

impl LogLevel {
    /// The level of this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "panic" => Self::Panic,
            "error" => Self::Error,
            "warning" | "warn" => Self::Warning,
            "verbose" | "info" => Self::Verbose,
            "debug" => Self::Debug,
            _ => return None,
        })
    }

    /// The level's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Verbose => "verbose",
            Self::Debug => "debug",
        }
    }
}

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// The least severe level that is logged (`logLevel`).
    pub level: LogLevel,
    /// Whether to log to standard error (`logToStderr`); the default is true.
    pub to_stderr: bool,
    /// The log file (`logFile`).
    pub file: Option<PathBuf>,
    /// How the file is rotated (`logOptions`).
    pub rotation: Rotation,
}

/// When the log file is rotated, and how long old files are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Largest file, in bytes.
    pub max_bytes: u64,
    /// Days after which an old file is removed; 0 for never.
    pub max_age_days: u32,
    /// How many old files are kept; 0 for all.
    pub max_backups: usize,
    /// Whether old files are compressed.
    pub compress: bool,
}

/// Multus' `logOptions`.
#[derive(Debug, Default)]
struct Options {
    max_size: Option<u32>,
    max_age: Option<u32>,
    max_backups: Option<u32>,
    compress: Option<bool>,
}

pub const DEFAULT_MEGABYTES: u32 = 100;
pub const DEFAULT_DAYS: u32 = 5;
pub const DEFAULT_BACKUPS: u32 = 5;

impl Logging {
    /// Parses the keys. An unknown level causes a warning and falls back to the default: with
    /// Multus, too, it breaks no pod's network.
    ///
    /// # Errors
    /// [`value::Error`] names the key and the value.
    pub fn parse(keys: &RawObject, warnings: &mut Vec<String>) -> Result<Self, value::Error> {
        let options = Options::parse(keys, warnings)?;
        Ok(Self {
            level: level(keys, warnings)?,
            to_stderr: value::optional(keys, "logToStderr", "true or false")?.unwrap_or(true),
            file: value::optional::<PathBuf>(keys, "logFile", "a path")?
                .filter(|path| !path.as_os_str().is_empty()),
            rotation: options.into(),
        })
    }
}

impl Options {
    fn parse(keys: &RawObject, warnings: &mut Vec<String>) -> Result<Self, value::Error> {
        const KNOWN: [&str; 4] = ["maxSize", "maxAge", "maxBackups", "compress"];
        let given: Option<RawObject> = value::optional(
            keys,
            OPTIONS,
            "an object with maxAge, maxSize, maxBackups and compress",
        )?;
        let mut known = RawObject::new();
        for (name, value) in given.iter().flat_map(RawObject::iter) {
            // Go's decoder takes any case.
            match KNOWN.iter().find(|known| known.eq_ignore_ascii_case(name)) {
                Some(name) => known.set_raw(name, value.to_owned()),
                None => {
                    let meant = similar(&KNOWN, name);
                    let meant = meant.map(|meant| format!("; did you mean {meant:?}?"));
                    let meant = meant.unwrap_or_default();
                    warnings.push(format!("{OPTIONS}.{name}: the key is unknown{meant}"));
                }
            }
        }
        let number = |name| {
            let number = value::optional::<u32>(&known, name, "a whole number");
            number.map_err(|error| below_options(&error))
        };
        let compress = value::optional(&known, "compress", "true or false");
        Ok(Self {
            max_size: number("maxSize")?,
            max_age: number("maxAge")?,
            max_backups: number("maxBackups")?,
            compress: compress.map_err(|error| below_options(&error))?,
        })
    }
}

/// The error with the whole path of its key.
fn below_options(error: &value::Error) -> value::Error {
    value::Error {
        key: format!("{OPTIONS}.{}", error.key),
        expected: error.expected,
        found: error.found.clone(),
    }
}

impl From<Options> for Rotation {
    fn from(options: Options) -> Self {
        let megabytes = options.max_size.filter(|size| *size > 0);
        let backups = options.max_backups.unwrap_or(DEFAULT_BACKUPS);
        Self {
            max_bytes: u64::from(megabytes.unwrap_or(DEFAULT_MEGABYTES)) << 20,
            max_age_days: options.max_age.unwrap_or(DEFAULT_DAYS),
            max_backups: usize::try_from(backups).unwrap_or(usize::MAX),
            compress: options.compress.unwrap_or(true),
        }
    }
}

fn level(keys: &RawObject, warnings: &mut Vec<String>) -> Result<LogLevel, value::Error> {
    let Some(level) = value::optional::<String>(keys, "logLevel", "a log level")? else {
        return Ok(LogLevel::default());
    };
    if level.is_empty() {
        return Ok(LogLevel::default());
    }
    Ok(LogLevel::parse(&level).unwrap_or_else(|| {
        let found = value::shorten(&level);
        warnings.push(format!(
            "logLevel: {found:?} is not one of panic, error, warning, verbose and debug: warning is taken"
        ));
        LogLevel::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Logging, value::Error> {
        Logging::parse(&RawObject::parse(text).unwrap(), &mut Vec::new())
    }

    #[test]
    fn defaults_match_multus_plus_stderr() {
        let logging = parse("{}").unwrap();
        assert!(logging.to_stderr);
        assert_eq!(logging.file, None);
        assert_eq!(
            logging.rotation,
            Rotation {
                max_bytes: 100 << 20,
                max_age_days: 5,
                max_backups: 5,
                compress: true
            }
        );
    }

    #[test]
    fn every_option_is_read() {
        let logging = parse(
            r#"{"logLevel":"Debug","logToStderr":false,"logFile":"/x.log",
                "logOptions":{"maxAge":0,"maxSize":1,"maxBackups":0,"compress":false}}"#,
        )
        .unwrap();
        assert_eq!(logging.level, LogLevel::Debug);
        assert!(!logging.to_stderr);
        assert_eq!(logging.file, Some("/x.log".into()));
        assert_eq!(
            logging.rotation,
            Rotation {
                max_bytes: 1 << 20,
                max_age_days: 0,
                max_backups: 0,
                compress: false
            }
        );
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (text, key) in [
            (
                r#"{"logOptions":{"maxAge":"5"}}"#,
                "logOptions.maxAge: expected a whole number",
            ),
            (
                r#"{"logOptions":{"compress":1}}"#,
                "logOptions.compress: expected true",
            ),
            (r#"{"logOptions":7}"#, "logOptions"),
            (r#"{"logLevel":7}"#, "logLevel"),
            (r#"{"logFile":[]}"#, "logFile"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
    }

    #[test]
    fn options_are_read_in_any_case() {
        let mut warnings = Vec::new();
        let keys = r#"{"logOptions":{"maxage":0,"MaxSize":1,"maxBackup":7}}"#;
        let logging = Logging::parse(&RawObject::parse(keys).unwrap(), &mut warnings).unwrap();
        assert_eq!(
            (logging.rotation.max_age_days, logging.rotation.max_bytes),
            (0, 1 << 20)
        );
        assert_eq!(
            warnings,
            [r#"logOptions.maxBackup: the key is unknown; did you mean "maxBackups"?"#]
        );
    }

    #[test]
    fn an_unknown_level_is_warned_about() {
        let mut warnings = Vec::new();
        let keys = RawObject::parse(r#"{"logLevel":"loud"}"#).unwrap();
        let logging = Logging::parse(&keys, &mut warnings).unwrap();
        assert_eq!(logging.level, LogLevel::Warning);
        let [warning] = warnings.as_slice() else {
            panic!("{warnings:?}");
        };
        assert!(
            warning.starts_with(r#"logLevel: "loud" is not one of panic"#),
            "{warning}"
        );
    }
}
