//! The demo passes, and leaves nothing behind however it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use node::{build, case};

/// Starts the demo in its own session, which identifies its processes.
fn start() -> Child {
    build::everything();
    // A shell cannot trap a signal that was ignored when it started, as nohup(1) does.
    Command::new("env")
        .args(["--default-signal=HUP,INT,TERM", "setsid", case::ENTER])
        .arg(env!("CARGO_BIN_EXE_cnidaria-demo"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the demo can be started")
}

/// A session's processes, seen from outside all namespaces, without zombies: reaping them is up to
/// the machine's init.
fn processes(session: u32) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc can be read");
    entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| {
            // The name in the second field may contain blanks and brackets.
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            let fields: Vec<_> = fields.split_whitespace().collect();
            let ended = fields.first() == Some(&"Z");
            !ended && fields.get(3) == Some(&session.to_string().as_str())
        })
        .collect()
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("/proc can be read")
}

fn nothing_is_left(session: u32, mounts_before: &str) {
    let start = Instant::now();
    while !processes(session).is_empty() && start.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(processes(session), Vec::<String>::new());
    assert_eq!(mounts(), mounts_before);
}

#[test]
fn it_passes_and_leaves_nothing_behind() {
    let before = mounts();
    let child = start();
    let session = child.id();
    let output = child.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if case::left_out(output.status, &said) {
        return;
    }
    assert!(output.status.success(), "{said}");
    assert!(!said.contains('\x1b'), "colour is for terminals: {said}");
    nothing_is_left(session, &before);
}

#[test]
fn interrupted_demo_leaves_nothing_behind() {
    for signal in ["HUP", "INT", "TERM", "KILL"] {
        let before = mounts();
        let mut child = start();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // From here on the daemon is running and the first pod exists.
        let reached = lines.by_ref().any(|line| line.unwrap().starts_with("2. "));
        if !reached {
            let mut said = String::new();
            let mut stderr = child.stderr.take().unwrap();
            stderr.read_to_string(&mut said).unwrap();
            assert!(case::left_out(child.wait().unwrap(), &said), "{said}");
            return;
        }
        let pid = child.id().to_string();
        let script = format!("kill -{signal} {pid}");
        let sent = Command::new("/bin/sh").args(["-c", &script]).status();
        assert!(sent.unwrap().success(), "{signal}");
        let status = child.wait().unwrap();
        assert!(!status.success(), "{signal}: {status}");
        nothing_is_left(child.id(), &before);
    }
}
