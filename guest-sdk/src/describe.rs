//! What a policy says of itself, in a custom section of its component.

use crate::const_text::Text;
use crate::schema::Json;

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
            const TEXT: &$crate::const_text::Text = &$crate::describe::Description {
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
        let mut text = Text::new();
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::const_text::MAX;
    use crate::schema::{Member, Schema};

    fn text(description: &Description) -> Value {
        let text = description.text();
        let bytes: [u8; MAX] = text.bytes();
        serde_json::from_slice(bytes.get(..text.length()).unwrap()).unwrap()
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
