//! How the daemon starts, and its exit codes if it cannot, which are Multus'.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let rig = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for name in ["manifests", "autoconf", "net.d"] {
            std::fs::create_dir(rig.path(name)).unwrap();
        }
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command that starts the daemon with these keys in addition to the required ones.
    fn command(&self, keys: &str) -> Command {
        let at = self.dir.path().display();
        self.with_file(&format!(
            r#"{{"socketDir":"{at}/run/","cniDir":"{at}/ledger","cniConfigDir":"{at}/net.d","multusAutoconfigDir":"{at}/autoconf",
                "multusConfigFile":"auto","cnidaria":{{"manifests":"{at}/manifests"}}{keys}}}"#
        ))
    }

    fn with_file(&self, text: &str) -> Command {
        let file = self.path("daemon-config.json");
        std::fs::write(&file, text).unwrap();
        daemon(&["-config", file.to_str().unwrap()])
    }
}

fn daemon(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnidaria-daemon"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn output(mut command: Command) -> (i32, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }

    fn wait_for(&mut self, file: &Path) {
        let begun = Instant::now();
        while !file.exists() {
            assert_eq!(self.0.try_wait().unwrap(), None, "the daemon ended");
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{file:?} never came"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn startup_failures_have_exit_codes() {
    let rig = Rig::new();
    let version = r#","cniVersion":"1.1.0""#;
    let cases = [
        (
            daemon(&["-config", "/nonexistent.json"]),
            1,
            "/nonexistent.json",
        ),
        (rig.with_file("{nope"), 1, "daemon-config.json"),
        (daemon(&["-bogus"]), 2, "bogus"),
    ];
    for (command, code, named) in cases {
        let (found, stderr) = output(command);
        assert_eq!(found, code, "{stderr}");
        assert!(stderr.contains(named), "{stderr}");
    }
    for (keys, code, named) in [
        (r#","socketDir":7"#.to_owned(), 1, "socketDir"),
        (String::new(), 2, "cniVersion"),
        (
            format!(r#"{version},"multusAutoconfigDir":"/nonexistent""#),
            2,
            "/nonexistent",
        ),
        (
            format!(r#"{version},"multusConfigFile":"/nonexistent/x.conf""#),
            2,
            "/nonexistent/x.conf",
        ),
        (
            format!(r#"{version},"connectionLimit":0"#),
            3,
            "connectionLimit",
        ),
    ] {
        let (found, stderr) = output(rig.command(&keys));
        assert_eq!(found, code, "{keys}: {stderr}");
        assert!(stderr.contains(named), "{keys}: {stderr}");
    }
}

#[test]
fn odd_arguments_and_closed_pipes_do_not_panic() {
    let name = OsStr::from_bytes(b"none-\xff.json");
    let mut unreadable = daemon(&["--check-config", "--config"]);
    unreadable.arg(name);
    let (code, stderr) = output(unreadable);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("cannot read none-"), "{stderr}");
    let mut unknown = daemon(&[]);
    unknown.arg(name);
    assert_eq!(output(unknown).0, 2);
    for (arguments, code) in [("--help", 1), ("--version", 1), ("--bogus", 2)] {
        let mut command = daemon(&[arguments]);
        let full = || std::fs::File::create("/dev/full").unwrap();
        let status = command.stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments}");
    }
}

#[test]
fn version_flag_matches_multus_daemon() {
    let printed = daemon(&["-version"]).output().unwrap();
    assert_eq!(printed.status.code(), Some(4));
    assert!(
        String::from_utf8(printed.stdout)
            .unwrap()
            .starts_with("cnidaria-daemon 0.")
    );
}

#[test]
fn conf_outlives_the_daemon_and_its_socket() {
    let rig = Rig::new();
    let mut running = Running::start(rig.command(r#","cniVersion":"1.1.0","anUnknownKey":1"#));
    running.wait_for(&rig.path("run/multus.sock"));
    assert!(
        !rig.path("net.d/00-multus.conf").exists(),
        "the primary network does not exist yet"
    );
    let primary = r#"{"cniVersion":"0.3.1","name":"cbr0","type":"bridge"}"#;
    std::fs::write(rig.path("autoconf/10-bridge.conf"), primary).unwrap();
    running.wait_for(&rig.path("net.d/00-multus.conf"));
    assert_eq!(running.end(), Some(0));
    assert!(rig.path("net.d/00-multus.conf").exists());
    assert!(!rig.path("run/multus.sock").exists());
}

/// The answer to a GET on the socket.
fn get(rig: &Rig, path: &str) -> String {
    get_at(&rig.path("run/multus.sock"), path)
}

fn get_at(socket: &Path, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_socket_serves_while_a_module_compiles() {
    let rig = Rig::new();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../policy-engine/fixtures/compiler"
    );
    std::fs::create_dir(rig.path("policies")).unwrap();
    std::os::unix::fs::symlink(script, rig.path("compiler")).unwrap();
    std::fs::write(rig.path("does"), "exec /bin/sleep 1000").unwrap();
    std::fs::write(rig.path("policies/10-slow.wasm"), b"\0asm").unwrap();
    let at = rig.dir.path().display();
    let mut running = Running::start(rig.with_file(&format!(
        r#"{{"socketDir":"{at}/run/","cniDir":"{at}/ledger","cniConfigDir":"{at}/net.d","multusAutoconfigDir":"{at}/autoconf",
            "multusConfigFile":"auto","cniVersion":"1.1.0","cnidaria":{{"manifests":"{at}/manifests","policies":{{
            "modules":"{at}/policies","cache":"{at}/cache","state":"{at}/state","compiler":"{at}/compiler"}}}}}}"#
    )));
    running.wait_for(&rig.path("run/multus.sock"));
    assert!(get(&rig, "/readyz").starts_with("HTTP/1.1 200"));
    let policies = get(&rig, shim_api::endpoint::POLICIES);
    assert!(policies.contains(r#""state":"loading""#), "{policies}");
    assert_eq!(running.end(), Some(0));
}

#[test]
fn a_file_in_the_place_of_cni_dir_is_refused() {
    let rig = Rig::new();
    std::fs::write(rig.path("ledger"), "").unwrap();
    let (code, stderr) = output(rig.command(r#","cniVersion":"1.1.0""#));
    assert_eq!(code, 3, "{stderr}");
    let expected = format!("cniDir: {} cannot hold", rig.path("ledger").display());
    assert!(stderr.contains(&expected), "{stderr}");
    assert!(!rig.path("run").exists());
}

#[test]
fn missing_manifests_are_named_by_their_key() {
    let rig = Rig::new();
    std::fs::remove_dir(rig.path("manifests")).unwrap();
    let (code, stderr) = output(rig.command(r#","cniVersion":"1.1.0""#));
    assert_eq!(code, 3, "{stderr}");
    let dir = rig.path("manifests");
    let expected = format!("cnidaria.manifests: cannot read {}: ", dir.display());
    assert!(stderr.contains(&expected), "{stderr}");
}

/// A daemon that serves, and its log.
fn logged(rig: &Rig) -> (Running, PathBuf) {
    let log = rig.path("log");
    let mut command = rig.command(r#","cniVersion":"1.1.0","logToStderr":true"#);
    command.stderr(std::fs::File::create(&log).unwrap());
    let mut running = Running(command.spawn().unwrap());
    running.wait_for(&rig.path("run/multus.sock"));
    until(|| get(rig, "/readyz").starts_with("HTTP/1.1 200"));
    (running, log)
}

fn until(holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never holds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn log_has(log: &Path, text: &str) -> bool {
    std::fs::read_to_string(log).unwrap().contains(text)
}

#[test]
fn a_removed_socket_is_bound_again() {
    let rig = Rig::new();
    let (mut running, log) = logged(&rig);
    let (dir, socket) = (rig.path("run"), rig.path("run/multus.sock"));
    let removals: [&dyn Fn(); 4] = [
        &|| std::fs::remove_file(&socket).unwrap(),
        // The daemon may bind while the directory is being emptied.
        &|| until(|| std::fs::remove_dir_all(&dir).is_ok()),
        &|| std::fs::rename(&dir, rig.path("moved")).unwrap(),
        &|| std::fs::remove_file(&socket).unwrap(),
    ];
    for (index, remove) in removals.iter().enumerate() {
        remove();
        running.wait_for(&socket);
        let warnings = || {
            let log = std::fs::read_to_string(&log).unwrap();
            log.matches("was removed; bound it again").count()
        };
        until(|| warnings() > index);
        assert!(get(&rig, "/readyz").starts_with("HTTP/1.1 200"));
    }
    // The next daemon still sees that this one lives.
    let lock = std::fs::File::open(dir.join(".daemon")).unwrap();
    assert!(lock.try_lock().is_err());
    assert_eq!(running.end(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_socket_that_cannot_be_bound_fails_probes() {
    let rig = Rig::new();
    let (mut running, log) = logged(&rig);
    let (dir, moved) = (rig.path("run"), rig.path("moved"));
    std::fs::write(&moved, "").unwrap();
    // At once: the daemon has no time to make the directory again.
    let (here, exchange) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
    rustix::fs::renameat_with(here, &dir, here, &moved, exchange).unwrap();
    until(|| log_has(&log, "cannot be bound again"));
    for path in ["/healthz", "/readyz"] {
        let answer = get_at(&moved.join("multus.sock"), path);
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("cannot be bound again: "), "{answer}");
    }
    std::fs::remove_file(&dir).unwrap();
    running.wait_for(&dir.join("multus.sock"));
    until(|| log_has(&log, "bound it again"));
    for path in ["/healthz", "/readyz"] {
        until(|| get(&rig, path).starts_with("HTTP/1.1 200"));
    }
    assert_eq!(running.end(), Some(0));
}

#[test]
fn another_daemons_socket_is_left_alone() {
    let rig = Rig::new();
    let (mut running, log) = logged(&rig);
    let (socket, other) = (rig.path("run/multus.sock"), rig.path("run/other.sock"));
    let _listener = std::os::unix::net::UnixListener::bind(&other).unwrap();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let of_other = inode(&other);
    std::fs::rename(&other, &socket).unwrap();
    until(|| log_has(&log, "leaving it alone"));
    assert_eq!(inode(&socket), of_other);
    std::fs::remove_file(&socket).unwrap();
    until(|| log_has(&log, "bound it again"));
    assert!(get(&rig, "/readyz").starts_with("HTTP/1.1 200"));
    assert_eq!(running.end(), Some(0));
}

#[test]
fn check_config_reports_all_and_starts_nothing() {
    let rig = Rig::new();
    let check = |keys: &str| {
        let mut command = rig.command(keys);
        let output = command.arg("--check-config").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let version = r#","cniVersion":"1.1.0""#;
    assert_eq!(check(version), (Some(0), String::new()));
    let (code, text) = check(
        r#","binDir":7,
"connectionLimit":0"#,
    );
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].contains("daemon-config.json:1:1: error: cniVersion: missing"),
        "{text}"
    );
    assert!(lines[1].contains(": error: binDir: expected"), "{text}");
    assert!(
        lines[2].contains(":3:1: error: connectionLimit: must be"),
        "{text}"
    );
    std::fs::remove_dir(rig.path("autoconf")).unwrap();
    let (code, text) = check(version);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("multusAutoconfigDir: ") && text.contains("is not a directory"),
        "{text}"
    );
    assert!(!rig.path("run").exists() && !rig.path("ledger").exists());
}
