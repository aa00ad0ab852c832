//! Names that become part of paths, plugin environments or kernel objects.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Error;
use crate::clip::clip;
use crate::text::deceives;

/// Defines a validated string type: a constructor, `as_str`, `Display` and JSON. Clones share
/// memory.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Validates `text`.
            ///
            /// # Errors
            /// [`Error::Empty`], [`Error::TooLong`] or [`Error::Characters`].
            pub fn new(text: impl Into<String>) -> Result<Self, Error> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// `CNI_CONTAINERID`: letters, digits, `_`, `.` and `-`, starting with a letter or digit, at
    /// most 128 bytes. Safe as part of a file name.
    ContainerId, container_id
}

name! {
    /// `CNI_IFNAME`: a name the kernel accepts for an interface: 1 to 15 bytes, not `.` or `..`,
    /// without `/`, `:`, whitespace or control characters. See also [`to_make`](IfName::to_make).
    IfName, if_name
}

name! {
    /// `name` of a configuration: the rules of [`ContainerId`], at most 253 bytes.
    NetworkName, network_name
}

name! {
    /// `type` of a plugin: a plain file name, looked up in directories; at most 255 bytes, not `.`
    /// or `..`, without `/` or control characters.
    PluginType, plugin_type
}

fn container_id(text: &str) -> Result<(), Error> {
    identifier("container id", text, 128)
}

fn network_name(text: &str) -> Result<(), Error> {
    identifier("network name", text, 253)
}

fn identifier(what: &'static str, text: &str, limit: usize) -> Result<(), Error> {
    length(what, text, limit)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if text.bytes().all(allowed) && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Error::Characters {
        what,
        value: clip(text),
        rule: "it must start with a letter or digit and consist of letters, digits, '_', '.' and '-'",
    })
}

fn if_name(text: &str) -> Result<(), Error> {
    // IFNAMSIZ is 16, including the terminating NUL.
    file_name(
        "interface name",
        text,
        15,
        |c| c == ':' || c.is_whitespace(),
        "it must not be '.' or '..' nor have '/', ':', whitespace or control characters",
    )
}

impl IfName {
    /// A name for a new interface. Stricter than [`new`](Self::new), which also accepts names from
    /// older records: the kernel expands `%` as a template, and reserves `all`, `default`, `lo` and
    /// `bonding_masters`; marks of the bidirectional algorithm would disguise the name.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn to_make(text: impl Into<String>) -> Result<Self, Error> {
        const RESERVED: [&str; 4] = ["all", "bonding_masters", "default", "lo"];
        let name = Self::new(text)?;
        let text = name.as_str();
        let rule = if text.contains('%') {
            "it must not have '%', of which the kernel makes another name"
        } else if RESERVED.contains(&text) {
            "the kernel has this name for itself"
        } else if text.bytes().any(|byte| byte == NO_BREAK_SPACE) {
            "the kernel takes a byte of it for a space"
        } else if text.contains(deceives) {
            "it must not have characters that change how it is shown"
        } else {
            return Ok(name);
        };
        Err(Error::Characters {
            what: "interface name",
            value: clip(text),
            rule,
        })
    }
}

/// The kernel classifies bytes as Latin-1, where this is a space.
const NO_BREAK_SPACE: u8 = 0xa0;

fn plugin_type(text: &str) -> Result<(), Error> {
    file_name(
        "plugin type",
        text,
        255,
        |_| false,
        "it must be the plain name of a file",
    )
}

fn file_name(
    what: &'static str,
    text: &str,
    limit: usize,
    forbidden: fn(char) -> bool,
    rule: &'static str,
) -> Result<(), Error> {
    length(what, text, limit)?;
    let bad = |c: char| c == '/' || c.is_control() || forbidden(c);
    if matches!(text, "." | "..") || text.contains(bad) {
        return Err(Error::Characters {
            what,
            value: clip(text),
            rule,
        });
    }
    Ok(())
}

fn length(what: &'static str, text: &str, limit: usize) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::Empty { what });
    }
    if text.len() > limit {
        return Err(Error::TooLong {
            what,
            bytes: text.len(),
            value: clip(text),
            limit,
        });
    }
    Ok(())
}
