//! A module with its configuration, loaded as the daemon loads it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use policy_engine::compile;
use policy_engine::trial::{Compiled, Configuration, Fault, Loaded, Refusal};
use serde_json::{Map, Value};

use crate::check::explain;
use crate::text;

/// Maximum size of a module in bytes, as in the daemon.
pub(crate) const MAX_MODULE: u64 = 64 << 20;

/// Maximum size of a configuration in bytes, as in the daemon.
const MAX_CONFIG: u64 = 1 << 20;

/// The configuration of a policy that has none.
const EMPTY: &str = "{}";

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file is larger than the daemon reads.
    #[error("{path} has more than {limit} bytes", path = path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    /// The module is not usable.
    #[error("{path}", path = path.display())]
    Module {
        path: PathBuf,
        source: compile::Error,
    },
    /// The configuration has faults: one line each.
    #[error("{}", .0.join("\n"))]
    Configuration(Vec<String>),
}

/// Why a policy does not load with replaced keys.
#[derive(Debug)]
pub(crate) enum Unloaded {
    /// The configuration has faults.
    Configuration(Vec<Fault>),
    /// The policy or the engine refuses it.
    Refused {
        reason: String,
        /// The same with the key, and what was probably meant.
        fault: Fault,
    },
}

impl Unloaded {
    /// What is wrong, in one line.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Configuration(faults) => {
                let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
                faults.join("; ")
            }
            Self::Refused { reason, .. } => reason.clone(),
        }
    }
}

/// A loaded policy, or what is wrong.
type Parsed = Result<Arc<Loaded>, Arc<Unloaded>>;

/// A compiled module and the text of its configuration.
pub(crate) struct Policy {
    pub(crate) compiled: Compiled,
    /// Bytes of the module.
    pub(crate) bytes: usize,
    pub(crate) module: PathBuf,
    config: Option<PathBuf>,
    text: String,
    /// The policy with replaced keys, by their JSON text.
    loaded: Mutex<BTreeMap<String, Parsed>>,
}

impl Policy {
    /// Reads and compiles the module, and reads the configuration.
    ///
    /// # Errors
    /// [`Error`]; the configuration is not parsed yet.
    pub(crate) fn open(module: &Path, config: Option<&Path>) -> Result<Self, Error> {
        let text = match config {
            Some(config) => {
                let decoded = text::decode(read(config, MAX_CONFIG)?);
                decoded.and_then(text::json).map_err(|wrong| {
                    let text::Encoding {
                        line,
                        column,
                        reason,
                    } = wrong;
                    let file = config.display();
                    Error::Configuration(vec![format!("{file}:{line}:{column}  {reason}")])
                })?
            }
            None => EMPTY.to_owned(),
        };
        let bytes = read(module, MAX_MODULE)?;
        let compiled = Compiled::new(&bytes).map_err(|source| Error::Module {
            path: module.to_owned(),
            source,
        })?;
        Ok(Self {
            compiled,
            bytes: bytes.len(),
            module: module.to_owned(),
            config: config.map(Path::to_owned),
            text,
            loaded: Mutex::default(),
        })
    }

    /// The policy's name: that of its configuration or module.
    pub(crate) fn name(&self) -> String {
        let file = self.config.as_ref().unwrap_or(&self.module);
        let stem = file.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }

    /// The file of the configuration, or of the module if it has none.
    pub(crate) fn file(&self) -> &Path {
        self.config.as_deref().unwrap_or(&self.module)
    }

    /// Parses the configuration.
    ///
    /// # Errors
    /// All its faults.
    pub(crate) fn configuration(&self) -> Result<Configuration, Vec<Fault>> {
        Configuration::parse(&self.name(), self.file(), &self.text)
    }

    /// Loads the policy with its configuration.
    ///
    /// # Errors
    /// [`Error::Configuration`] with file, line, column and key of each fault.
    pub(crate) async fn load(&self) -> Result<Loaded, Error> {
        let configuration = self.checked()?;
        let loaded = self.compiled.load(&configuration).await;
        loaded.map_err(|refusal| self.faulty(&[explain::refusal(&refusal, &configuration)]))
    }

    /// Parses the configuration.
    ///
    /// # Errors
    /// [`Error::Configuration`] with file, line, column and key of each fault.
    pub(crate) fn checked(&self) -> Result<Configuration, Error> {
        self.configuration().map_err(|faults| self.faulty(&faults))
    }

    fn faulty(&self, faults: &[Fault]) -> Error {
        Error::Configuration(faults.iter().map(|fault| self.line(fault)).collect())
    }

    /// A fault with its file: one without a place in the configuration is the module's.
    pub(crate) fn line(&self, fault: &Fault) -> String {
        let file = match fault.at {
            Some(_) => self.file(),
            None => &self.module,
        };
        explain::line(&file.display().to_string(), fault)
    }

    /// Loads the policy with some keys of its configuration replaced. The outcome is remembered.
    ///
    /// # Errors
    /// [`Unloaded`].
    pub(crate) async fn load_with(&self, replaced: &Map<String, Value>) -> Parsed {
        let text = self.merged(replaced)?;
        let known = || self.loaded.lock();
        if let Some(loaded) = known().get(&text) {
            return loaded.clone();
        }
        let loaded = match Configuration::parse(&self.name(), self.file(), &text) {
            Ok(configuration) => {
                let loaded = self.compiled.load(&configuration).await;
                let refused = |refusal: Refusal| {
                    // The place is one in the settings, which have no file of their own here.
                    let reason = refusal.to_string();
                    let (reason, _) = explain::without_place(&reason, "");
                    Arc::new(Unloaded::Refused {
                        reason: reason.to_owned(),
                        fault: explain::refusal(&refusal, &configuration),
                    })
                };
                loaded.map(Arc::new).map_err(refused)
            }
            Err(faults) => Err(Arc::new(Unloaded::Configuration(faults))),
        };
        known().insert(text, loaded.clone());
        loaded
    }

    fn merged(&self, replaced: &Map<String, Value>) -> Result<String, Arc<Unloaded>> {
        if replaced.is_empty() {
            return Ok(self.text.clone());
        }
        let mut members: Map<String, Value> =
            serde_json::from_str(&self.text).map_err(|error| {
                let reason = format!("{}: {error}", self.file().display());
                let fault = Fault {
                    at: None,
                    key: String::new(),
                    reason: reason.clone(),
                };
                Arc::new(Unloaded::Refused { reason, fault })
            })?;
        members.extend(replaced.clone());
        Ok(Value::Object(members).to_string())
    }
}

/// Reads a file of bounded size.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    use io::Read as _;
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}
