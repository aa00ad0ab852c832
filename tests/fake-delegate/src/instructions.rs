//! The instructions and their source: the conf's key `fake`, otherwise a file `<name>.fake.json`
//! beside the binary, which leaves the conf unchanged. Unknown keys are errors, so that a misspelt
//! instruction cannot make a test pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::call::Call;

/// What to do in this call.
#[derive(Default)]
pub(crate) struct Instructions {
    /// The directory that receives a file per call.
    pub(crate) record: Option<PathBuf>,
    pub(crate) behaviour: Behaviour,
}

/// How one verb behaves. The steps are performed in this order.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// Wait until this file exists.
    pub(crate) until: Option<PathBuf>,
    pub(crate) sleep: Duration,
    /// Leave a process behind that holds standard output open for this many seconds.
    pub(crate) orphan: Option<u64>,
    /// Text for standard error.
    pub(crate) stderr: Option<String>,
    /// Write this many bytes to standard output before the answer.
    pub(crate) spew: u64,
    pub(crate) ending: Ending,
}

/// The last step.
#[derive(Default)]
pub(crate) enum Ending {
    /// A result matching the request; nothing for verbs without a result.
    #[default]
    Success,
    /// This result, whatever the verb.
    Result(Value),
    /// This error object, exit code 1.
    Error(Value),
    /// This text on standard output, then the exit code.
    Text(String, u8),
    /// Die by this signal.
    Signal(u64),
    /// Never return.
    Hang,
}

impl Instructions {
    /// Finds the instructions for the verb of this call.
    ///
    /// # Errors
    /// A message that names the key and its location.
    pub(crate) fn find(call: &Call) -> Result<Self, String> {
        if let Some(fake) = call.conf.get("fake") {
            return Self::parse(fake, &call.command).map_err(|key| format!("conf: fake: {key}"));
        }
        let beside = PathBuf::from(format!("{}.fake.json", call.argv0));
        match fs::read(&beside) {
            Err(_) => Ok(Self::default()),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| source.to_string())
                .and_then(|fake| Self::parse(&fake, &call.command))
                .map_err(|problem| format!("{}: {problem}", beside.display())),
        }
    }

    fn parse(fake: &Value, command: &str) -> Result<Self, String> {
        let fake = fake.as_object().ok_or("is not an object")?;
        let mut found = Self::default();
        for (key, value) in fake {
            match key.as_str() {
                "record" => found.record = Some(path(key, value)?),
                "*" if !fake.contains_key(command) => found.behaviour = behaviour(key, value)?,
                verb if verb == command => found.behaviour = behaviour(key, value)?,
                "*" | "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION" => {}
                _ => return Err(format!("unknown key {key:?}")),
            }
        }
        Ok(found)
    }
}

fn behaviour(verb: &str, value: &Value) -> Result<Behaviour, String> {
    let keys = value
        .as_object()
        .ok_or_else(|| format!("{verb} is not an object"))?;
    let mut behaviour = Behaviour::default();
    for (key, value) in keys {
        match key.as_str() {
            "until" => behaviour.until = Some(path(key, value)?),
            "sleepMs" => behaviour.sleep = Duration::from_millis(number(key, value)?),
            "orphan" => behaviour.orphan = Some(number(key, value)?),
            "stderr" => behaviour.stderr = Some(text(key, value)?),
            "spew" => behaviour.spew = number(key, value)?,
            "result" => behaviour.ending = Ending::Result(value.clone()),
            "error" => behaviour.ending = Ending::Error(value.clone()),
            "text" => behaviour.ending = Ending::Text(text(key, value)?, exit_code(keys)?),
            "exit" if keys.contains_key("text") => {}
            "exit" => behaviour.ending = Ending::Text(String::new(), exit_code(keys)?),
            "signal" => behaviour.ending = Ending::Signal(number(key, value)?),
            "hang" => behaviour.ending = Ending::Hang,
            _ => return Err(format!("unknown key {key:?} in {verb}")),
        }
    }
    Ok(behaviour)
}

fn exit_code(keys: &Map<String, Value>) -> Result<u8, String> {
    let Some(value) = keys.get("exit") else {
        return Ok(0);
    };
    number("exit", value)?
        .try_into()
        .map_err(|_| "exit is above 255".to_owned())
}

fn number(key: &str, value: &Value) -> Result<u64, String> {
    value
        .as_u64()
        .ok_or_else(|| format!("{key} is not a whole number"))
}

fn text(key: &str, value: &Value) -> Result<String, String> {
    let text = value
        .as_str()
        .ok_or_else(|| format!("{key} is not a string"))?;
    Ok(text.to_owned())
}

fn path(key: &str, value: &Value) -> Result<PathBuf, String> {
    let path = text(key, value)?;
    if !Path::new(&path).is_absolute() {
        return Err(format!("{key} is not an absolute path"));
    }
    Ok(path.into())
}
