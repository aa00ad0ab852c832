//! Performs the steps of a behaviour and ends the process accordingly.

use std::io::{self, Write};
use std::process::{self, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::call::{Call, variable};
use crate::instructions::{Behaviour, Ending};

/// The versions that VERSION reports: all that exist.
const VERSIONS: [&str; 8] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", "1.2.0",
];

/// Follows the instructions; without any, succeeds.
pub(crate) fn give(call: &Call, behaviour: &Behaviour) -> ExitCode {
    while behaviour.until.as_ref().is_some_and(|path| !path.exists()) {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(behaviour.sleep);
    if let Some(seconds) = behaviour.orphan
        && let Err(source) = Command::new("sleep").arg(seconds.to_string()).spawn()
    {
        return failure(&format!("sleep cannot be started: {source}"));
    }
    if let Some(text) = &behaviour.stderr {
        eprintln!("{text}");
    }
    if behaviour.spew > 0 {
        spew(behaviour.spew);
    }
    match &behaviour.ending {
        Ending::Success => success(call),
        Ending::Result(result) => print(&filled(result, call), 0),
        Ending::Error(error) => print(error, 1),
        Ending::Text(text, code) => {
            write(text.as_bytes());
            ExitCode::from(*code)
        }
        Ending::Signal(signal) => die(*signal),
        Ending::Hang => loop {
            thread::park();
        },
    }
}

/// Returns a CNI error for a mistake in the test itself.
pub(crate) fn failure(problem: &str) -> ExitCode {
    print(
        &json!({"cniVersion": "1.0.0", "code": 199, "msg": format!("fake delegate: {problem}")}),
        1,
    )
}

fn success(call: &Call) -> ExitCode {
    match call.command.as_str() {
        "ADD" => print(&result(call), 0),
        "VERSION" => print(
            &json!({"cniVersion": call.cni_version(), "supportedVersions": VERSIONS}),
            0,
        ),
        _ => ExitCode::SUCCESS,
    }
}

/// The previous plugin's result in a chain, otherwise the requested interface.
fn result(call: &Call) -> Value {
    if let Some(result) = call.conf.get("prevResult") {
        return result.clone();
    }
    json!({
        "cniVersion": call.cni_version(),
        "interfaces": [{"name": variable("CNI_IFNAME"), "sandbox": variable("CNI_NETNS")}],
    })
}

/// Replaces a result's placeholders with this call's values.
fn filled(result: &Value, call: &Call) -> Value {
    match result {
        Value::String(text) => match text.as_str() {
            "$cniVersion" => Value::from(call.cni_version()),
            "$CNI_IFNAME" => Value::from(variable("CNI_IFNAME")),
            "$CNI_NETNS" => Value::from(variable("CNI_NETNS")),
            _ => result.clone(),
        },
        Value::Array(elements) => elements.iter().map(|one| filled(one, call)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), filled(value, call)))
            .collect(),
        _ => result.clone(),
    }
}

fn print(value: &Value, code: u8) -> ExitCode {
    write(value.to_string().as_bytes());
    ExitCode::from(code)
}

/// Many tests stop reading early, so a closed pipe is not an error.
fn write(bytes: &[u8]) {
    let _ = io::stdout().write_all(bytes);
    let _ = io::stdout().flush();
}

fn spew(count: u64) {
    let block = [b'x'; 4096];
    let mut left = count;
    let mut out = io::stdout().lock();
    while left > 0 {
        let length = left.min(block.len() as u64);
        let Some(part) = block.get(..length as usize) else {
            return;
        };
        if out.write_all(part).is_err() {
            return;
        }
        left -= length;
    }
}

/// The standard library cannot send signals, but every shell can.
fn die(signal: u64) -> ExitCode {
    let script = format!("kill -{signal} {}", process::id());
    let sent = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdout(Stdio::null())
        .status();
    match sent {
        Ok(status) if status.success() => loop {
            thread::park();
        },
        _ => failure(&format!("signal {signal} cannot be sent")),
    }
}
