//! The environment of one call, validated as a whole.

use std::fmt;

use super::{CniArgs, Command, ContainerId, Error, IfName};
use crate::error::{CniError, code};

/// The parameters of one call (specification, section 2, Parameters).
///
/// A field is `None` when the command does not use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// `CNI_COMMAND`.
    pub command: Command,
    /// `CNI_CONTAINERID`: ADD, CHECK and DEL.
    pub container_id: Option<ContainerId>,
    /// `CNI_NETNS`: required for ADD and CHECK, optional for DEL.
    pub netns: Option<String>,
    /// `CNI_IFNAME`: ADD, CHECK and DEL.
    pub if_name: Option<IfName>,
    /// `CNI_ARGS`, empty when unset.
    pub args: CniArgs,
    /// `CNI_PATH`, directories separated by `:`.
    pub path: Option<String>,
}

/// All missing and malformed variables of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentError {
    /// Required variables that are unset or empty.
    pub missing: Vec<&'static str>,
    /// Malformed variables, with the reason.
    pub malformed: Vec<(&'static str, Error)>,
}

impl Parameters {
    /// Reads the parameters with `variable`, which looks up one variable by name. An empty variable
    /// counts as unset. All commands but VERSION require `CNI_PATH`.
    ///
    /// # Errors
    /// [`EnvironmentError`] with every missing or malformed variable.
    pub fn from_env<S: Into<String>>(
        variable: impl Fn(&str) -> Option<S>,
    ) -> Result<Self, EnvironmentError> {
        let mut read = Reader {
            variable: |name: &str| variable(name).map(Into::into),
            error: EnvironmentError::default(),
        };
        let Some(command) = read.required("CNI_COMMAND", |text| text.parse::<Command>()) else {
            // The required variables depend on the command.
            return Err(read.error);
        };
        let attachment = matches!(command, Command::Add | Command::Check | Command::Del);
        let text = |text: String| Ok(text);
        let parameters = Self {
            command,
            container_id: attachment
                .then(|| read.required("CNI_CONTAINERID", ContainerId::new))
                .flatten(),
            netns: match command {
                Command::Add | Command::Check => read.required("CNI_NETNS", text),
                Command::Del => read.optional("CNI_NETNS", text),
                _ => None,
            },
            if_name: attachment
                .then(|| read.required("CNI_IFNAME", IfName::new))
                .flatten(),
            args: attachment
                .then(|| {
                    read.optional("CNI_ARGS", |text| match command {
                        Command::Del => Ok(CniArgs::well_formed(&text)),
                        _ => CniArgs::parse(&text),
                    })
                })
                .flatten()
                .unwrap_or_default(),
            path: match command {
                Command::Version | Command::Del => read.optional("CNI_PATH", text),
                _ => read.required("CNI_PATH", text),
            },
        };
        if read.error.missing.is_empty() && read.error.malformed.is_empty() {
            Ok(parameters)
        } else {
            Err(read.error)
        }
    }
}

impl EnvironmentError {
    /// The CNI error of a plugin: code 4, naming all variables.
    pub fn to_cni_error(&self) -> CniError {
        CniError::new(code::INVALID_ENVIRONMENT, self.to_string())
    }
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if !self.missing.is_empty() {
            let names = self.missing.join(",");
            write!(f, "required env variables [{names}] missing")?;
            separator = "; ";
        }
        for (name, reason) in &self.malformed {
            match reason {
                Error::Command { .. } => write!(f, "{separator}{reason}")?,
                _ => write!(f, "{separator}invalid {name}: {reason}")?,
            }
            separator = "; ";
        }
        Ok(())
    }
}

impl std::error::Error for EnvironmentError {}

/// Looks up variables and collects the errors.
struct Reader<F> {
    variable: F,
    error: EnvironmentError,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(String) -> Result<T, Error>,
    ) -> Option<T> {
        if (self.variable)(name).is_none_or(|text| text.is_empty()) {
            self.error.missing.push(name);
            return None;
        }
        self.optional(name, parse)
    }

    fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(String) -> Result<T, Error>,
    ) -> Option<T> {
        let text = (self.variable)(name).filter(|text| !text.is_empty())?;
        parse(text)
            .map_err(|reason| self.error.malformed.push((name, reason)))
            .ok()
    }
}
