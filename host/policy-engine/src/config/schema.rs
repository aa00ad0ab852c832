//! Checks settings against the JSON Schema that a module brings: types, members, elements, choices and
//! ranges. Keywords that it does not know allow everything; the policy checks the rest itself.

mod place;
#[cfg(test)]
mod tests;

use cni_types::json::Pointer;
use serde_json::{Map, Value};

use super::members::similar;
use crate::model::report::clean;

/// Maximum depth of settings that are checked.
const MAX_DEPTH: u8 = 32;
/// Maximum number of comparisons; beyond it, settings pass unchecked.
const MAX_STEPS: u32 = 1 << 20;
/// Maximum number of known keys that a wrong one is compared with, or that are listed.
const MAX_KNOWN: usize = 64;
/// Maximum bytes of a name that is listed or compared.
const MAX_NAME: usize = 64;
/// Maximum bytes of a reason.
const MAX_REASON: usize = 512;

/// What is wrong with settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where in the configuration: `/settings/search/1`.
    pub(crate) pointer: String,
    /// What is wrong, and what was expected.
    pub(crate) reason: String,
    /// Byte of the settings' text where the value is, or the key if it is unknown.
    pub(crate) offset: usize,
}

/// Checks settings, as JSON text. The error is the first fault.
pub(crate) fn check(schema: &Value, settings: &str) -> Result<(), Fault> {
    let Ok(value) = serde_json::from_str(settings) else {
        return Ok(());
    };
    let mut checker = Checker {
        path: Vec::new(),
        steps: MAX_STEPS,
    };
    checker.value(schema, &value).map_err(|wrong| {
        let tokens = checker.path.iter().map(String::as_str);
        let tokens: Vec<&str> = tokens.chain(wrong.key.as_deref()).collect();
        let pointer = tokens
            .iter()
            .fold(Pointer::root().child("settings"), |at, token| {
                at.child(*token)
            });
        // A missing key has no place: that of the object is shown.
        let found: &[&str] = match wrong.is_missing {
            true => tokens.split_last().map_or(&[], |(_, rest)| rest),
            false => &tokens,
        };
        Fault {
            pointer: clean(&pointer.to_string(), MAX_REASON),
            reason: clean(&wrong.reason, MAX_REASON),
            offset: place::offset(settings, found, wrong.key.is_some() && !wrong.is_missing),
        }
    })
}

/// A fault at the checker's path, or at a key there.
struct Wrong {
    key: Option<String>,
    is_missing: bool,
    reason: String,
}

impl Wrong {
    fn here(reason: String) -> Self {
        Self {
            key: None,
            is_missing: false,
            reason,
        }
    }
}

struct Checker {
    /// Keys and indexes on the way to the value.
    path: Vec<String>,
    steps: u32,
}

type Checked = Result<(), Wrong>;

impl Checker {
    /// Charges work, and says whether it may be done.
    fn spend(&mut self, steps: usize) -> bool {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let left = self.steps.checked_sub(steps);
        self.steps = left.unwrap_or(0);
        left.is_some()
    }

    /// Checks a value; on an error, the path is that of the faulty one.
    fn value(&mut self, schema: &Value, value: &Value) -> Checked {
        if !self.spend(1) || self.path.len() >= usize::from(MAX_DEPTH) {
            return Ok(());
        }
        let schema = match schema {
            Value::Object(schema) => schema,
            Value::Bool(false) => return Err(Wrong::here("is not allowed".to_owned())),
            _ => return Ok(()),
        };
        if let Some(Value::Array(schemas)) = schema.get("anyOf") {
            self.any(schemas, value)?;
        }
        if let Some(types) = schema.get("type")
            && !each(types).any(|name| is_of(value, name))
        {
            return Err(expected(each(types), value));
        }
        if let Some(Value::Array(choices)) = schema.get("enum") {
            self.choice(choices, value)?;
        }
        match value {
            Value::Object(members) => self.object(schema, members),
            Value::Array(elements) => self.array(schema, elements),
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or_default();
                range(schema, number, ["minimum", "maximum"], "")
            }
            Value::String(text) => {
                let length = count(text.chars().count());
                range(schema, length, ["minLength", "maxLength"], " characters")
            }
            _ => Ok(()),
        }
    }

    /// Checks a value that may be of several forms: the error is that of the first form of its type.
    fn any(&mut self, schemas: &[Value], value: &Value) -> Checked {
        let depth = self.path.len();
        let mut first = None;
        for schema in schemas {
            let Err(wrong) = self.value(schema, value) else {
                return Ok(());
            };
            let types = schema.get("type");
            let fits = types.is_some_and(|types| each(types).any(|name| is_of(value, name)));
            let path = self.path.split_off(depth);
            if fits && first.is_none() {
                first = Some((wrong, path));
            }
        }
        match first {
            Some((wrong, path)) => {
                self.path.extend(path);
                Err(wrong)
            }
            None => {
                let types = schemas.iter().filter_map(|schema| schema.get("type"));
                Err(expected(types.flat_map(each), value))
            }
        }
    }

    fn choice(&mut self, choices: &[Value], value: &Value) -> Checked {
        if !self.spend(choices.len()) || choices.contains(value) {
            return Ok(());
        }
        let words: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        let word = value.as_str();
        let hint = word.and_then(|word| self.meant(word, &words));
        let hint = hint.unwrap_or_else(|| format!("expected one of {}", listed(&words)));
        Err(Wrong::here(format!("unknown value; {hint}")))
    }

    fn object(&mut self, schema: &Map<String, Value>, members: &Map<String, Value>) -> Checked {
        if let Some(Value::Array(required)) = schema.get("required")
            && self.spend(required.len())
        {
            let mut required = required.iter().filter_map(Value::as_str);
            if let Some(missing) = required.find(|key| !members.contains_key(*key)) {
                return Err(Wrong {
                    key: Some(missing.to_owned()),
                    is_missing: true,
                    reason: "is missing".to_owned(),
                });
            }
        }
        let known = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (key, value) in members {
            let own = known.and_then(|known| known.get(key));
            match own.or(others) {
                Some(Value::Bool(false)) if own.is_none() => {
                    let known = known.into_iter().flat_map(Map::keys);
                    let known: Vec<&str> = known.take(MAX_KNOWN).map(String::as_str).collect();
                    let hint = self.meant(key, &known);
                    let hint = hint.unwrap_or_else(|| format!("known are {}", listed(&known)));
                    return Err(Wrong {
                        key: Some(key.clone()),
                        is_missing: false,
                        reason: format!("unknown key; {hint}"),
                    });
                }
                Some(schema) => self.inner(schema, key.clone(), value)?,
                None => {}
            }
        }
        let length = count(members.len());
        range(schema, length, ["minProperties", "maxProperties"], " keys")
    }

    fn array(&mut self, schema: &Map<String, Value>, elements: &[Value]) -> Checked {
        let length = count(elements.len());
        range(schema, length, ["minItems", "maxItems"], " elements")?;
        let Some(items) = schema.get("items") else {
            return Ok(());
        };
        let mut elements = elements.iter().enumerate();
        elements.try_for_each(|(index, element)| self.inner(items, index.to_string(), element))
    }

    /// A hint at the known name that was probably meant, if comparing costs little.
    fn meant(&mut self, word: &str, known: &[&str]) -> Option<String> {
        let is_short = |name: &&&str| name.len() <= MAX_NAME;
        let known: Vec<&str> = known
            .iter()
            .filter(is_short)
            .take(MAX_KNOWN)
            .copied()
            .collect();
        let length: usize = known.iter().map(|name| name.len()).sum();
        if !self.spend(length.saturating_mul(word.len().min(MAX_NAME))) {
            return None;
        }
        similar(word, &known).map(|word| format!("did you mean {word:?}?"))
    }

    fn inner(&mut self, schema: &Value, token: String, value: &Value) -> Checked {
        self.path.push(token);
        self.value(schema, value)?;
        self.path.pop();
        Ok(())
    }
}

/// Values are not repeated: they may be secrets.
fn expected<'a>(types: impl Iterator<Item = &'a str>, value: &Value) -> Wrong {
    let types = types.take(MAX_KNOWN).map(|name| clean(name, MAX_NAME));
    let (types, found) = (types.collect::<Vec<_>>(), type_of(value));
    Wrong::here(format!("expected {}, found {found}", types.join(" or ")))
}

/// Known names, shortened.
fn listed(known: &[&str]) -> String {
    let known = known.iter().take(MAX_KNOWN);
    let known: Vec<String> = known.map(|name| clean(name, MAX_NAME)).collect();
    known.join(", ")
}

fn range(schema: &Map<String, Value>, value: f64, [least, most]: [&str; 2], unit: &str) -> Checked {
    let bound = |key| schema.get(key).and_then(Value::as_f64);
    if let Some(least) = bound(least).filter(|least| value < *least) {
        return Err(Wrong::here(format!("{value}{unit} is less than {least}")));
    }
    match bound(most).filter(|most| value > *most) {
        Some(most) => Err(Wrong::here(format!("{value}{unit} is more than {most}"))),
        None => Ok(()),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a float holds each length up to 2^53"
)]
fn count(length: usize) -> f64 {
    length as f64
}

/// The names in `type`: one, or a list.
fn each(types: &Value) -> impl Iterator<Item = &str> {
    let list = types.as_array().map(Vec::as_slice).unwrap_or_default();
    let one = types.as_str().into_iter();
    one.chain(list.iter().take(MAX_KNOWN).filter_map(Value::as_str))
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        name => type_of(value) == name,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
