//! Released versions of the CNI specification, and the version of a configuration.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clip::clip;
use crate::json;

/// A released version of the CNI specification that this crate implements, ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.1.0: one IPv4 and one IPv6 address per result.
    V0_1_0,
    /// 0.2.0: adds VERSION.
    V0_2_0,
    /// 0.3.0: adds lists of addresses and chains of plugins.
    V0_3_0,
    /// 0.3.1.
    V0_3_1,
    /// 0.4.0: adds CHECK, and `prevResult` for DEL.
    V0_4_0,
    /// 1.0.0: only lists; an address no longer has a `version`.
    V1_0_0,
    /// 1.1.0: adds GC and STATUS.
    V1_1_0,
}

/// Why a text is not a supported version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not of the form `major.minor.patch`.
    #[error("malformed CNI version{}: expected major.minor.patch", shown(version))]
    Malformed {
        /// The rejected text.
        version: String,
    },
    /// Well formed, but not a version that this crate implements.
    #[error("unsupported CNI version {version:?}, supported are {}", supported())]
    Unsupported {
        /// The rejected text.
        version: String,
        /// Whether it is newer than every supported version.
        newer: bool,
    },
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest supported version.
    pub const LATEST: Self = Self::V1_1_0;

    /// The version as written in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Whether CHECK exists.
    pub fn supports_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether GC exists.
    pub fn supports_gc(self) -> bool {
        self >= Self::V1_1_0
    }

    /// Whether STATUS exists.
    pub fn supports_status(self) -> bool {
        self >= Self::V1_1_0
    }

    /// Whether DEL gets the result of ADD as `prevResult`.
    pub fn del_has_prev_result(self) -> bool {
        self >= Self::V0_4_0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(known) = Self::ALL.into_iter().find(|known| known.as_str() == text) {
            return Ok(known);
        }
        let version = clip(text);
        match numbers(text) {
            Some(numbers) => Err(Error::Unsupported {
                newer: numbers > (1, 1, 0),
                version,
            }),
            None => Err(Error::Malformed { version }),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The `cniVersion` of a configuration; old configurations omit it.
///
/// Such a configuration follows the rules of 0.1.0, but plugins receive the empty string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConfVersion(Option<Version>);

impl ConfVersion {
    /// The version of a configuration without `cniVersion`.
    pub const MISSING: Self = Self(None);

    /// Parses the value of `cniVersion`; the empty string counts as missing.
    ///
    /// # Errors
    /// As [`Version::from_str`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::MISSING);
        }
        text.parse().map(|version| Self(Some(version)))
    }

    /// The declared version, if any.
    pub fn declared(self) -> Option<Version> {
        self.0
    }

    /// The version whose rules apply.
    pub fn effective(self) -> Version {
        self.0.unwrap_or(Version::V0_1_0)
    }

    /// The value sent to plugins: the version, or the empty string.
    pub fn as_str(self) -> &'static str {
        self.0.map_or("", Version::as_str)
    }
}

impl From<Version> for ConfVersion {
    fn from(version: Version) -> Self {
        Self(Some(version))
    }
}

impl fmt::Display for ConfVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The response to VERSION.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// Version of the response's own format.
    #[serde(rename = "cniVersion")]
    pub cni_version: String,
    /// Every version that the plugin supports, as text: a plugin may support newer ones than this
    /// crate.
    #[serde(rename = "supportedVersions", default)]
    pub supported_versions: Vec<String>,
}

/// Why a response to VERSION was rejected.
#[derive(Debug, thiserror::Error)]
pub enum VersionInfoError {
    /// The response does not have the JSON form of the specification.
    #[error("malformed answer to VERSION")]
    Syntax(#[source] json::Cause),
    /// A member is absent or empty.
    #[error("answer to VERSION without {key:?}")]
    Missing {
        /// Name of the member.
        key: &'static str,
    },
}

impl VersionInfo {
    /// The response of a plugin that supports every version in this crate.
    pub fn all() -> Self {
        Self::of(&Version::ALL)
    }

    /// The response of a plugin that supports `versions`.
    pub fn of(versions: &[Version]) -> Self {
        Self {
            cni_version: Version::LATEST.to_string(),
            supported_versions: versions.iter().map(Version::to_string).collect(),
        }
    }

    /// Parses a plugin's response. A 0.2.0 response may omit the list.
    ///
    /// # Errors
    /// [`VersionInfoError`] when it is not JSON or lacks a member.
    pub fn parse(bytes: &[u8]) -> Result<Self, VersionInfoError> {
        let mut info: Self = serde_json::from_slice(bytes)
            .map_err(|error| VersionInfoError::Syntax(error.into()))?;
        if info.cni_version.is_empty() {
            return Err(VersionInfoError::Missing { key: "cniVersion" });
        }
        if info.supported_versions.is_empty() {
            if info.cni_version != Version::V0_2_0.as_str() {
                return Err(VersionInfoError::Missing {
                    key: "supportedVersions",
                });
            }
            info.supported_versions =
                Self::of(&[Version::V0_1_0, Version::V0_2_0]).supported_versions;
        }
        Ok(info)
    }

    /// Whether the plugin supports `version`.
    pub fn supports(&self, version: Version) -> bool {
        self.supported_versions
            .iter()
            .any(|supported| supported == version.as_str())
    }
}

fn numbers(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    });
    let numbers = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(numbers)
}

/// Shows a version only if it consists of digits and dots: a configuration may contain anything.
fn shown(version: &str) -> String {
    match version.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        true => format!(" {version:?}"),
        false => String::new(),
    }
}

fn supported() -> String {
    Version::ALL.map(Version::as_str).join(", ")
}
