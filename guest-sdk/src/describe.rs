//! What a policy says of itself, in a custom section of its component.

use crate::schema::Json;

/// Maximum bytes of a description, as of the host.
pub const MAX: usize = 64 << 10;

/// The grants that a policy can ask for.
const GRANTS: &[&str] = &[
    "attachments",
    "namespaces",
    "nads",
    "node",
    "metrics",
    "clock",
    "random",
    "state",
    "rewrite-result",
    "change-type",
    "append-plugin",
    "remove-plugin",
    "move-plugin",
    "change-paths",
    "change-capabilities",
    "change-devices",
    "change-firewall",
];

/// Puts a description into the component, which `cnidaria policy inspect`, `check` and `list` show:
/// name and version of the crate, the schema of the settings, and the grants and limits that the
/// policy wants. The daemon checks settings against the schema before the policy gets them, and gives
/// nothing because of it. Use once per crate, beside [`export!`](crate::export). Every part may be
/// left out.
///
/// ```
/// use cnidaria_guest::Schema;
///
/// #[derive(serde::Deserialize, Schema)]
/// #[serde(deny_unknown_fields)]
/// struct Settings {
///     /// MTU of every network.
///     #[schema(minimum = 1280, maximum = 9216)]
///     mtu: u32,
/// }
///
/// cnidaria_guest::describe! {
///     settings: Settings,
///     grants: ["clock", "state"],
///     limits: { "stateKeys": 100 },
/// }
/// ```
#[macro_export]
macro_rules! describe {
    (
        $(settings: $settings:ty,)?
        $(grants: [$($grant:literal),* $(,)?],)?
        $(limits: { $($limit:literal: $value:literal),* $(,)? },)?
    ) => {
        const _: () = {
            const TEXT: &$crate::describe::Text = &$crate::describe::Description {
                name: ::std::env!("CARGO_PKG_NAME"),
                version: ::std::env!("CARGO_PKG_VERSION"),
                settings: $crate::__settings!($($settings)?),
                grants: &[$($($grant),*)?],
                limits: &[$($(($limit, $value)),*)?],
            }.text();
            #[cfg(target_family = "wasm")]
            #[unsafe(link_section = "cnidaria:policy")]
            #[used]
            static SECTION: [u8; TEXT.length()] = TEXT.bytes();
            #[cfg(not(target_family = "wasm"))]
            const _: [u8; TEXT.length()] = TEXT.bytes();
        };
    };
    ($($other:tt)*) => {
        ::std::compile_error!(
            "describe! takes settings, grants and limits, in this order, each with a comma behind it"
        );
    };
}

/// The schema of a type, if there is one.
#[doc(hidden)]
#[macro_export]
macro_rules! __settings {
    () => {
        ::std::option::Option::None
    };
    ($settings:ty) => {
        ::std::option::Option::Some(<$settings as $crate::schema::Schema>::SCHEMA)
    };
}

/// A description before it is text.
#[derive(Debug)]
pub struct Description {
    /// The policy's name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The schema of its settings.
    pub settings: Option<&'static Json>,
    /// The grants that it wants.
    pub grants: &'static [&'static str],
    /// The limits that it wants, by key of the configuration.
    pub limits: &'static [(&'static str, u64)],
}

impl Description {
    /// The description as JSON.
    ///
    /// # Panics
    /// If a grant does not exist, or the text is too long. The macro makes these errors of compilation.
    pub const fn text(&self) -> Text {
        let mut text = Text {
            bytes: [0; MAX],
            length: 0,
        };
        text.push("{\"name\":");
        text.push_string(self.name);
        text.push(",\"version\":");
        text.push_string(self.version);
        if let Some(settings) = self.settings {
            text.push(",\"settings\":");
            settings.write("", &mut text);
        }
        let mut grants = self.grants;
        while let [grant, others @ ..] = grants {
            assert!(crate::export::lists(GRANTS, grant), "no such grant");
            grants = others;
        }
        text.push(",\"grants\":");
        text.push_strings(self.grants);
        text.push(",\"limits\":{");
        let mut limits = self.limits;
        while let [(key, value), others @ ..] = limits {
            text.push_string(key);
            text.push(":");
            text.push_number(*value as i128);
            if !others.is_empty() {
                text.push(",");
            }
            limits = others;
        }
        text.push("}}");
        text
    }
}

/// Text that is made at compile time.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    bytes: [u8; MAX],
    length: usize,
}

impl Text {
    /// Its bytes.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// The first `N` bytes.
    pub const fn bytes<const N: usize>(&self) -> [u8; N] {
        match self.bytes.first_chunk() {
            Some(bytes) => *bytes,
            None => [0; N],
        }
    }

    pub(crate) const fn push(&mut self, text: &str) {
        let mut bytes = text.as_bytes();
        while let [byte, others @ ..] = bytes {
            self.push_byte(*byte);
            bytes = others;
        }
    }

    /// A JSON string.
    pub(crate) const fn push_string(&mut self, text: &str) {
        self.push("\"");
        let mut bytes = text.as_bytes();
        while let [byte, others @ ..] = bytes {
            match *byte {
                b'"' | b'\\' => {
                    self.push("\\");
                    self.push_byte(*byte);
                }
                // Control characters are not part of a name.
                0..0x20 => self.push(" "),
                byte => self.push_byte(byte),
            }
            bytes = others;
        }
        self.push("\"");
    }

    pub(crate) const fn push_strings(&mut self, texts: &[&str]) {
        self.push("[");
        let mut rest = texts;
        while let [text, others @ ..] = rest {
            self.push_string(text);
            if !others.is_empty() {
                self.push(",");
            }
            rest = others;
        }
        self.push("]");
    }

    pub(crate) const fn push_number(&mut self, number: i128) {
        if number < 0 {
            self.push("-");
        }
        let number = number.unsigned_abs();
        let mut power = 1;
        while number / power >= 10 {
            power *= 10;
        }
        while power > 0 {
            // A digit.
            self.push_byte(b'0' + (number / power % 10) as u8);
            power /= 10;
        }
    }

    const fn push_byte(&mut self, byte: u8) {
        let rest = self.bytes.split_at_mut_checked(self.length);
        assert!(
            matches!(rest, Some((_, [_, ..]))),
            "the description has more than 65536 bytes"
        );
        if let Some((_, [place, ..])) = rest {
            *place = byte;
        }
        self.length += 1;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::schema::{Member, Schema};

    fn text(description: &Description) -> Value {
        let text = description.text();
        let bytes = text.bytes.get(..text.length).unwrap();
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_description_is_json() {
        const SETTINGS: &Json = &Json::Object {
            members: &[
                Member {
                    name: "a\"b",
                    description: "of\n\\it",
                    is_required: true,
                    schema: <Vec<u16>>::SCHEMA,
                },
                Member {
                    name: "n",
                    description: "",
                    is_required: false,
                    schema: &Json::Within {
                        of: <Option<i64>>::SCHEMA,
                        minimum: Some(-10),
                        maximum: None,
                    },
                },
            ],
            is_open: false,
        };
        let found = text(&Description {
            name: "x",
            version: "0.1.0",
            settings: Some(SETTINGS),
            grants: &["clock"],
            limits: &[("timeoutMs", 50), ("stateKeys", 0)],
        });
        let integer = json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX});
        let expected = json!({
            "name": "x",
            "version": "0.1.0",
            "settings": {
                "type": "object",
                "properties": {
                    "a\"b": {
                        "description": "of \\it",
                        "type": "array",
                        "items": {"type": "integer", "minimum": 0, "maximum": 65535},
                    },
                    "n": {"anyOf": [integer, {"type": "null"}], "minimum": -10},
                },
                "required": ["a\"b"],
                "additionalProperties": false,
            },
            "grants": ["clock"],
            "limits": {"timeoutMs": 50, "stateKeys": 0},
        });
        assert_eq!(found, expected);
    }
}
