//! JSON Schema of a policy's settings, as a constant that [`describe!`](crate::describe) puts into the
//! component. `#[derive(Schema)]` implements it for a type that serde reads.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::NoSettings;
use crate::const_text::Text;

/// A type with a schema.
pub trait Schema {
    /// What its JSON may be.
    const SCHEMA: &'static Json;
    /// Whether a member of this type may be missing.
    const IS_OPTIONAL: bool = false;
}

/// A schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Json {
    /// Anything.
    Any,
    /// True or false.
    Bool,
    /// A number.
    Number,
    /// A whole number within bounds.
    Integer {
        /// The least.
        minimum: Option<i128>,
        /// The most.
        maximum: Option<i128>,
    },
    /// A text.
    String,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list.
    Array(&'static Json),
    /// An object with any keys.
    Map(&'static Json),
    /// An object with these keys.
    Object {
        /// The keys.
        members: &'static [Member],
        /// Others are allowed.
        is_open: bool,
    },
    /// This, or null.
    Nullable(&'static Json),
    /// This within bounds: the value of a number, the length of a text or list.
    Within {
        /// What is bounded.
        of: &'static Json,
        /// The least.
        minimum: Option<i128>,
        /// The most.
        maximum: Option<i128>,
    },
}

/// A key of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The key.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// It must be there.
    pub is_required: bool,
    /// Its value.
    pub schema: &'static Json,
}

impl Json {
    /// Writes the schema. `description` is that of the member whose schema it is.
    pub(crate) const fn write(&self, description: &str, text: &mut Text) {
        text.push("{");
        if !description.is_empty() {
            text.push("\"description\":");
            text.push_string(description);
            if !matches!(self, Self::Any) {
                text.push(",");
            }
        }
        self.write_members(text);
        text.push("}");
    }

    const fn write_members(&self, text: &mut Text) {
        match self {
            Self::Any => {}
            Self::Bool => text.push("\"type\":\"boolean\""),
            Self::Number => text.push("\"type\":\"number\""),
            Self::Integer { minimum, maximum } => {
                text.push("\"type\":\"integer\"");
                bounds(text, ["minimum", "maximum"], *minimum, *maximum);
            }
            Self::String => text.push("\"type\":\"string\""),
            Self::OneOf(choices) => {
                text.push("\"enum\":");
                text.push_strings(choices);
            }
            Self::Array(elements) => {
                text.push("\"type\":\"array\",\"items\":");
                elements.write("", text);
            }
            Self::Map(values) => {
                text.push("\"type\":\"object\",\"additionalProperties\":");
                values.write("", text);
            }
            Self::Object { members, is_open } => object(text, members, *is_open),
            Self::Nullable(inner) => {
                text.push("\"anyOf\":[");
                inner.write("", text);
                text.push(",{\"type\":\"null\"}]");
            }
            Self::Within {
                of,
                minimum,
                maximum,
            } => {
                let keys = match of {
                    Self::Integer {
                        minimum: least,
                        maximum: most,
                    } => {
                        let (minimum, maximum) =
                            (either(*minimum, *least), either(*maximum, *most));
                        let inner = Self::Integer { minimum, maximum };
                        return inner.write_members(text);
                    }
                    Self::String | Self::OneOf(_) => ["minLength", "maxLength"],
                    Self::Array(_) => ["minItems", "maxItems"],
                    Self::Map(_) | Self::Object { .. } => ["minProperties", "maxProperties"],
                    _ => ["minimum", "maximum"],
                };
                of.write_members(text);
                bounds(text, keys, *minimum, *maximum);
            }
        }
    }
}

const fn either(one: Option<i128>, other: Option<i128>) -> Option<i128> {
    match one {
        Some(_) => one,
        None => other,
    }
}

const fn object(text: &mut Text, members: &[Member], is_open: bool) {
    text.push("\"type\":\"object\",\"properties\":{");
    let mut rest = members;
    let mut is_first = true;
    while let [member, others @ ..] = rest {
        if !is_first {
            text.push(",");
        }
        is_first = false;
        text.push_string(member.name);
        text.push(":");
        member.schema.write(member.description, text);
        rest = others;
    }
    text.push("}");
    let mut rest = members;
    let mut is_first = true;
    while let [member, others @ ..] = rest {
        if member.is_required {
            text.push(if is_first { ",\"required\":[" } else { "," });
            is_first = false;
            text.push_string(member.name);
        }
        rest = others;
    }
    if !is_first {
        text.push("]");
    }
    if !is_open {
        text.push(",\"additionalProperties\":false");
    }
}

const fn bounds(
    text: &mut Text,
    [least, most]: [&str; 2],
    minimum: Option<i128>,
    maximum: Option<i128>,
) {
    if let Some(minimum) = minimum {
        text.push(",\"");
        text.push(least);
        text.push("\":");
        text.push_number(minimum);
    }
    if let Some(maximum) = maximum {
        text.push(",\"");
        text.push(most);
        text.push("\":");
        text.push_number(maximum);
    }
}

macro_rules! schemas {
    ($($json:expr => $($type:ty),+;)+) => {
        $($(impl Schema for $type { const SCHEMA: &'static Json = &$json; })+)+
    };
}

schemas! {
    Json::Bool => bool;
    Json::Number => f32, f64;
    Json::String => String, char, IpAddr, Ipv4Addr, Ipv6Addr;
    Json::Any => serde_json::Value;
    Json::Object { members: &[], is_open: false } => NoSettings;
}

macro_rules! integers {
    ($($type:ty),+) => {
        $(impl Schema for $type {
            const SCHEMA: &'static Json = &Json::Integer {
                minimum: Some(<$type>::MIN as i128),
                maximum: Some(<$type>::MAX as i128),
            };
        })+
    };
}

integers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

macro_rules! lists {
    ($($type:ident),+) => {
        $(impl<T: Schema> Schema for $type<T> {
            const SCHEMA: &'static Json = &Json::Array(T::SCHEMA);
        })+
    };
}

lists!(Vec, BTreeSet);

impl<T: Schema, S> Schema for HashSet<T, S> {
    const SCHEMA: &'static Json = &Json::Array(T::SCHEMA);
}

impl<T: Schema> Schema for BTreeMap<String, T> {
    const SCHEMA: &'static Json = &Json::Map(T::SCHEMA);
}

impl<T: Schema, S> Schema for HashMap<String, T, S> {
    const SCHEMA: &'static Json = &Json::Map(T::SCHEMA);
}

impl<T: Schema> Schema for Option<T> {
    const SCHEMA: &'static Json = &Json::Nullable(T::SCHEMA);
    const IS_OPTIONAL: bool = true;
}

impl<T: Schema> Schema for Box<T> {
    const SCHEMA: &'static Json = T::SCHEMA;
    const IS_OPTIONAL: bool = T::IS_OPTIONAL;
}
