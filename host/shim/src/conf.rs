//! The few configuration keys that concern the shim. Everything else is left to the daemon, and
//! only checked to be JSON.

use std::path::PathBuf;
use std::time::Duration;

use cni_types::args::{self, Command, NetworkName};
use cni_types::json::{self, RawObject};
use cni_types::version::{self, ConfVersion, Version};
use serde_json::value::RawValue;
use shim_api::endpoint;

/// Default time that ADD waits for a restarting daemon.
const ADD_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Default time that any call waits for the response. Together with the above, less than kubelet's
/// default four minutes per sandbox, so that kubelet reports our error instead of its own timeout.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(200);

/// Default directory of the ledger.
const CNI_DIR: &str = "/var/lib/cni/multus";

/// Maximum characters of an unknown key quoted in a message.
const SHOWN_CHARS: usize = 120;

/// Why a configuration was rejected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("standard input is empty, a network configuration was expected")]
    Empty,
    #[error("the network configuration is not a JSON object")]
    Json(#[source] json::Error),
    #[error("missing network name")]
    NameMissing,
    #[error("invalid network name")]
    Name(#[source] args::Error),
    #[error("incompatible CNI versions")]
    Version(#[source] version::Error),
    #[error("config version does not allow {command}")]
    CommandTooNew { command: Command, version: Version },
    #[error("invalid value for {key:?}: expected {expected}, got {found}")]
    Type {
        key: &'static str,
        expected: &'static str,
        found: String,
    },
    #[error("unknown key {key:?} in \"cnidaria.shim\"")]
    UnknownKey { key: String },
}

/// The shim's configuration.
#[derive(Debug)]
pub(crate) struct Conf {
    version: ConfVersion,
    /// Path of the daemon's socket.
    pub(crate) socket: PathBuf,
    /// How long ADD waits for a restarting daemon.
    pub(crate) add_connect_timeout: Duration,
    /// How long any call waits for the response.
    pub(crate) answer_timeout: Duration,
    /// The ledger's directory.
    pub(crate) cni_dir: PathBuf,
    /// Whether a DEL that finds no daemon is recorded for the next one.
    pub(crate) defer_del: bool,
}

impl Conf {
    /// Parses a configuration; sets `version` as soon as it is known, so that later errors are
    /// printed in it. A DEL does without what it does not need: the ledger knows what was attached,
    /// and a mistake that reached the conf after the ADD must not hold a pod.
    pub(crate) fn parse(
        config: &[u8],
        command: Command,
        version: &mut Version,
    ) -> Result<Self, Error> {
        if config.trim_ascii().is_empty() {
            return Err(Error::Empty);
        }
        let object = RawObject::parse(config).map_err(Error::Json)?;
        let is_del = command == Command::Del;
        let declared = string(&object, "cniVersion").and_then(|declared| {
            ConfVersion::parse(&declared.unwrap_or_default()).map_err(Error::Version)
        });
        let conf_version = unless(is_del, declared, Version::LATEST.into())?;
        *version = conf_version.effective();
        unless(is_del, check_name(&object), ())?;

        let socket_dir = unless(is_del, string(&object, "daemonSocketDir"), None)?
            .filter(|dir| !dir.is_empty())
            .unwrap_or_else(|| endpoint::DEFAULT_SOCKET_DIR.to_owned());
        let cni_dir = string(&object, "cniDir");
        let mut conf = Self {
            version: conf_version,
            socket: endpoint::socket_path(socket_dir.as_ref()),
            add_connect_timeout: ADD_CONNECT_TIMEOUT,
            answer_timeout: ANSWER_TIMEOUT,
            // Without the directory a DEL cannot be recorded, but the daemon may have its own.
            defer_del: cni_dir.is_ok(),
            cni_dir: unless(is_del, cni_dir, None)?
                .filter(|dir| !dir.is_empty())
                .unwrap_or_else(|| CNI_DIR.to_owned())
                .into(),
        };
        unless(is_del, conf.read_settings(&object), ())?;
        Ok(conf)
    }

    /// Checks that the configuration's version has the command.
    pub(crate) fn allows(&self, command: Command) -> Result<(), Error> {
        let version = self.version.effective();
        let allowed = match command {
            Command::Check => version.supports_check(),
            Command::Gc => version.supports_gc(),
            Command::Status => version.supports_status(),
            Command::Add | Command::Del | Command::Version => true,
        };
        if allowed {
            Ok(())
        } else {
            Err(Error::CommandTooNew { command, version })
        }
    }

    fn read_settings(&mut self, object: &RawObject) -> Result<(), Error> {
        let own = inner(object, "cnidaria", "cnidaria")?;
        let shim = own.map(|own| inner(&own, "shim", "cnidaria.shim"));
        match shim.transpose()?.flatten() {
            Some(shim) => self.read_own(&shim),
            None => Ok(()),
        }
    }

    fn read_own(&mut self, shim: &RawObject) -> Result<(), Error> {
        for (key, value) in shim.iter() {
            match key {
                "addConnectTimeoutMs" => {
                    self.add_connect_timeout =
                        milliseconds("cnidaria.shim.addConnectTimeoutMs", value)?;
                }
                "answerTimeoutMs" => {
                    self.answer_timeout = milliseconds("cnidaria.shim.answerTimeoutMs", value)?;
                }
                "deferDel" => {
                    self.defer_del = serde_json::from_str(value.get()).map_err(|_| {
                        mistyped("cnidaria.shim.deferDel", "true or false", Some(value))
                    })?;
                }
                _ => {
                    return Err(Error::UnknownKey { key: shorten(key) });
                }
            }
        }
        Ok(())
    }
}

/// `default` in the place of an error, where it is not needed.
fn unless<T>(is_not_needed: bool, value: Result<T, Error>, default: T) -> Result<T, Error> {
    match value {
        Err(_) if is_not_needed => Ok(default),
        value => value,
    }
}

fn check_name(object: &RawObject) -> Result<(), Error> {
    let name = string(object, "name")?.unwrap_or_default();
    if name.is_empty() {
        return Err(Error::NameMissing);
    }
    NetworkName::new(name).map(drop).map_err(Error::Name)
}

/// The string at `key`; `None` if absent or `null`, as in Go.
fn string(object: &RawObject, key: &'static str) -> Result<Option<String>, Error> {
    object
        .get_as(key)
        .map_err(|_| mistyped(key, "a string", object.get(key)))
}

/// The object at `key`, called `path` in messages.
fn inner(object: &RawObject, key: &str, path: &'static str) -> Result<Option<RawObject>, Error> {
    object
        .get_as(key)
        .map_err(|_| mistyped(path, "an object", object.get(key)))
}

fn milliseconds(path: &'static str, value: &RawValue) -> Result<Duration, Error> {
    // 32 bits are 49 days, and cannot overflow a deadline.
    serde_json::from_str::<u32>(value.get())
        .map(|ms| Duration::from_millis(ms.into()))
        .map_err(|_| mistyped(path, "milliseconds as an integer", Some(value)))
}

fn mistyped(key: &'static str, expected: &'static str, value: Option<&RawValue>) -> Error {
    Error::Type {
        key,
        expected,
        // The value may be a credential.
        found: value.map_or_else(|| "nothing".to_owned(), json::kind),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}
