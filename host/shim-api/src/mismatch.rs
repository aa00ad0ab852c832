//! Names the member of a wrong type in a request that was refused. Strings are not quoted: they may
//! be part of an environment.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cni_types::json::{RawObject, kind};
use serde_json::value::RawValue;

use crate::attributes::{CNI_ARGS, IPS, MAC};

/// Longer names of variables are shortened.
const LONGEST_NAME: usize = 40;

/// A member of a wrong type.
#[derive(Debug)]
pub(crate) struct Mismatch {
    /// Such as `interfaceAttributes.ips[1]`.
    pub(crate) path: String,
    pub(crate) expected: &'static str,
    pub(crate) found: String,
}

impl Mismatch {
    fn of(path: String, expected: &'static str, value: &RawValue) -> Self {
        let found = kind(value);
        Self {
            path,
            expected,
            found,
        }
    }
}

/// The first wrong member of a request.
pub(crate) fn in_request(body: &[u8]) -> Option<Mismatch> {
    let request: RawObject = serde_json::from_slice(body).ok()?;
    request.iter().find_map(|(key, value)| {
        if key.eq_ignore_ascii_case("env") {
            in_object("env", value, |name, value| {
                let name: String = name.chars().take(LONGEST_NAME).collect();
                text(&format!("env.{name}"), value)
            })
        } else if key.eq_ignore_ascii_case("config") {
            in_config(value)
        } else if key.eq_ignore_ascii_case("interfaceAttributes") {
            in_object("interfaceAttributes", value, in_attribute)
        } else {
            None
        }
    })
}

fn in_config(value: &RawValue) -> Option<Mismatch> {
    let text = serde_json::from_str::<Option<String>>(value.get());
    let is_base64 = text.is_ok_and(|text| STANDARD.decode(text.unwrap_or_default()).is_ok());
    (!is_base64).then(|| Mismatch::of("config".to_owned(), "base64", value))
}

fn in_attribute(name: &str, value: &RawValue) -> Option<Mismatch> {
    let path = |name: &str| format!("interfaceAttributes.{name}");
    if name.eq_ignore_ascii_case(IPS) {
        let Ok(ips) = serde_json::from_str::<Option<Vec<&RawValue>>>(value.get()) else {
            return Some(Mismatch::of(path(IPS), "a list", value));
        };
        let mut ips = ips.into_iter().flatten().enumerate();
        ips.find_map(|(at, ip)| text(&format!("{}[{at}]", path(IPS)), ip))
    } else if name.eq_ignore_ascii_case(MAC) && value.get() != "null" {
        text(&path(MAC), value)
    } else if name.eq_ignore_ascii_case(CNI_ARGS) {
        in_object(&path(CNI_ARGS), value, |_, _| None)
    } else {
        None
    }
}

/// The first wrong value of an object; an object may be `null`.
fn in_object(
    path: &str,
    value: &RawValue,
    wrong: impl Fn(&str, &RawValue) -> Option<Mismatch>,
) -> Option<Mismatch> {
    match serde_json::from_str::<Option<RawObject>>(value.get()) {
        Ok(object) => object
            .iter()
            .flat_map(RawObject::iter)
            .find_map(|(key, value)| wrong(key, value)),
        Err(_) => Some(Mismatch::of(path.to_owned(), "an object", value)),
    }
}

fn text(path: &str, value: &RawValue) -> Option<Mismatch> {
    let is_text = serde_json::from_str::<String>(value.get()).is_ok();
    (!is_text).then(|| Mismatch::of(path.to_owned(), "a string", value))
}
