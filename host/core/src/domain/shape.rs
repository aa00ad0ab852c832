//! Shapes of hand-written JSON values, to name the member of a wrong type. serde reports the type of
//! the outermost value at best, and takes a list for an object.

use cni_types::json::{self, RawObject};
use serde_json::value::RawValue;

use super::members;

/// A member's canonical name and its shape.
type Member = (&'static str, Shape);

/// The expected type of a JSON value.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A string.
    Text,
    /// A port number; 0 is one.
    Port,
    /// A whole number that is not negative.
    Count,
    /// True or false.
    Flag,
    /// The shape, or `null`.
    Optional(&'static Shape),
    /// A list of such elements.
    List(&'static Shape),
    /// An object with such values under any key.
    Map(&'static Shape),
    /// An object with these members, each of which may be absent. Keys match in any case; others may
    /// have any value.
    Object(&'static [Member]),
}

/// A list of strings.
pub(crate) const TEXTS: Shape = Shape::List(&Shape::Text);

/// The capabilities that a plugin declares.
pub const FLAGS: Shape = Shape::Map(&Shape::Flag);

/// Port mappings of a pod.
pub(crate) const PORT_MAPPINGS: Shape = Shape::List(&Shape::Object(&[
    ("hostPort", Shape::Port),
    ("containerPort", Shape::Port),
    ("protocol", OPTIONAL_TEXT),
    ("hostIP", OPTIONAL_TEXT),
]));

/// Bandwidth limits of a pod.
pub const BANDWIDTH: Shape = Shape::Object(&[
    ("ingressRate", Shape::Count),
    ("ingressBurst", Shape::Count),
    ("egressRate", Shape::Count),
    ("egressBurst", Shape::Count),
]);

/// `runtimeConfig` of the CNI conf.
pub const RUNTIME_CONFIG: Shape = Shape::Object(&[
    ("portMappings", Shape::Optional(&PORT_MAPPINGS)),
    ("bandwidth", Shape::Optional(&BANDWIDTH)),
    ("ips", Shape::Optional(&TEXTS)),
    ("mac", OPTIONAL_TEXT),
    ("infinibandGUID", OPTIONAL_TEXT),
    ("deviceID", OPTIONAL_TEXT),
    ("CNIDeviceInfoFile", OPTIONAL_TEXT),
]);

/// The attachments in use, of GC.
pub const ATTACHMENTS: Shape = Shape::List(&Shape::Object(&[
    ("containerID", Shape::Text),
    ("ifname", Shape::Text),
]));

const OPTIONAL_TEXT: Shape = Shape::Optional(&Shape::Text);

/// Longer keys are shortened in messages.
const LONGEST_KEY: usize = 40;

/// A value of a wrong type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Its place below the value that was checked, such as `[2].hostPort`; empty for that one.
    pub path: String,
    /// The expected type, in words.
    pub expected: &'static str,
    /// The type found; for a number or a boolean, its value.
    pub found: String,
}

impl Shape {
    /// The first value of a wrong type.
    pub fn mismatch(&self, value: &RawValue) -> Option<Mismatch> {
        let wrong = |expected| {
            Some(Mismatch {
                path: String::new(),
                expected,
                found: json::kind(value),
            })
        };
        match self {
            Self::Text => is::<String>(value, || wrong("a string")),
            Self::Port => is::<u16>(value, || wrong("a port number up to 65535")),
            Self::Count => is::<u64>(value, || wrong("a whole number that is not negative")),
            Self::Flag => is::<bool>(value, || wrong("true or false")),
            Self::Optional(_) if value.get() == "null" => None,
            Self::Optional(shape) => shape.mismatch(value),
            Self::List(shape) => {
                let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
                    return wrong("a list");
                };
                let mut elements = elements.into_iter().enumerate();
                elements.find_map(|(at, element)| below(&format!("[{at}]"), shape, element))
            }
            Self::Map(shape) => {
                let Ok(object) = RawObject::from_value(value) else {
                    return wrong("an object");
                };
                let mut members = object.iter();
                members.find_map(|(key, value)| {
                    let key: String = key.chars().take(LONGEST_KEY).collect();
                    below(&format!(".{key}"), shape, value)
                })
            }
            Self::Object(known) => {
                let Ok(object) = RawObject::from_value(value) else {
                    return wrong("an object");
                };
                let names: Vec<&'static str> = known.iter().map(|(name, _)| *name).collect();
                let object = members::folded(&object, &names);
                known.iter().find_map(|(name, shape)| {
                    let value = object.get(name)?;
                    below(&format!(".{name}"), shape, value)
                })
            }
        }
    }
}

fn is<T: serde::de::DeserializeOwned>(
    value: &RawValue,
    wrong: impl FnOnce() -> Option<Mismatch>,
) -> Option<Mismatch> {
    match serde_json::from_str::<T>(value.get()) {
        Ok(_) => None,
        Err(_) => wrong(),
    }
}

fn below(place: &str, shape: &Shape, value: &RawValue) -> Option<Mismatch> {
    let found = shape.mismatch(value)?;
    let path = format!("{place}{}", found.path);
    Some(Mismatch { path, ..found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrong_member_is_named() {
        for (shape, text, expected) in [
            (TEXTS, r#"["a"]"#, None),
            (TEXTS, r#"["a",7]"#, Some("[1]: a string, 7")),
            (TEXTS, "{}", Some(": a list, an object")),
            (
                FLAGS,
                r#"{"a":true,"b":"c"}"#,
                Some(".b: true or false, a string"),
            ),
            (BANDWIDTH, "{}", None),
            (BANDWIDTH, "[1,2,3,4]", Some(": an object, a list")),
            (
                BANDWIDTH,
                r#"{"ingressRATE":{}}"#,
                Some(".ingressRate: a whole number that is not negative, an object"),
            ),
            (
                ATTACHMENTS,
                r#"[["c","eth0"]]"#,
                Some("[0]: an object, a list"),
            ),
            (
                ATTACHMENTS,
                r#"[{"containerID":null}]"#,
                Some("[0].containerID: a string, null"),
            ),
            (
                RUNTIME_CONFIG,
                r#"{"ips":null,"dns":7,"portMappings":[{"hostIP":null}]}"#,
                None,
            ),
            (
                RUNTIME_CONFIG,
                r#"{"portmappings":[{},{"HOSTPORT":"80"}]}"#,
                Some(".portMappings[1].hostPort: a port number up to 65535, a string"),
            ),
        ] {
            let value = RawValue::from_string(text.to_owned()).unwrap();
            let found = shape.mismatch(&value);
            let shown = found.map(|one| format!("{}: {}, {}", one.path, one.expected, one.found));
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }
}
