//! Executes the real binary like a container runtime, against a scripted daemon.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use shim_api::Request;
use tempfile::TempDir;

/// A request that the daemon received.
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn request(&self) -> Request {
        Request::parse(&self.body).expect("the shim writes good requests")
    }
}

/// A daemon that sends the given responses, one per connection, and then exits.
pub(crate) struct Daemon {
    received: Receiver<Received>,
}

impl Daemon {
    /// Listens in `dir` before returning. An empty response means: close without responding.
    pub(crate) fn start(dir: &Path, answers: Vec<Vec<u8>>) -> Self {
        Self::serve(
            UnixListener::bind(dir.join("multus.sock")).unwrap(),
            answers,
        )
    }

    /// Like [`Self::start`], as another user; requires root.
    pub(crate) fn start_as(uid: u32, dir: &Path, answers: Vec<Vec<u8>>) -> Self {
        std::os::unix::fs::chown(dir, Some(uid), None).unwrap();
        let socket = dir.join("multus.sock");
        let listener = thread::spawn(move || {
            // Changes the uid of this thread only.
            let user = rustix::process::Uid::from_raw(uid);
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            UnixListener::bind(socket).unwrap()
        });
        Self::serve(listener.join().unwrap(), answers)
    }

    fn serve(listener: UnixListener, answers: Vec<Vec<u8>>) -> Self {
        let (sender, received) = mpsc::channel();
        thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                sender.send(receive(&stream)).unwrap();
                let _ = (&stream).write_all(&answer);
            }
        });
        Self { received }
    }

    /// All requests so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.try_iter().collect()
    }

    /// The only request so far.
    pub(crate) fn the_request(&self) -> Received {
        let mut all = self.received();
        assert_eq!(all.len(), 1, "one connection, one request");
        all.remove(0)
    }
}

fn receive(stream: &UnixStream) -> Received {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "a whole head");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Received { head, body }
}

/// A response as Go's server writes it if it knows the length.
pub(crate) fn go(status: u16, content_type: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Text\r\nContent-Type: {content_type}\r\n\
         Date: Mon, 23 Nov 2026 16:02:00 GMT\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A response as Go's server writes it above 2 KB: chunked.
pub(crate) fn go_chunked(status: u16, body: &str) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {status} Text\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for part in body.as_bytes().chunks(1000) {
        bytes.extend(format!("{:x}\r\n", part.len()).bytes());
        bytes.extend(part);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

/// A successful response with this result.
pub(crate) fn result(json: &str) -> Vec<u8> {
    go(200, "application/json", &format!(r#"{{"Result":{json}}}"#))
}

/// Output of the shim.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Asserts success and returns standard output.
    pub(crate) fn success(self) -> String {
        assert_eq!(self.exit, Some(0), "{self:?}");
        assert_eq!(self.stderr, "");
        self.stdout
    }

    /// Asserts failure with only an error object on standard output.
    pub(crate) fn failure(self) -> Failure {
        assert_eq!(self.exit, Some(1), "{self:?}");
        let error: serde_json::Value = serde_json::from_str(&self.stdout).expect(&self.stdout);
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        Failure {
            version: text("cniVersion"),
            code: error["code"].as_u64().expect("a code"),
            msg: text("msg"),
            details: text("details"),
        }
    }
}

/// An error object.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) version: String,
    pub(crate) code: u64,
    pub(crate) msg: String,
    pub(crate) details: String,
}

/// A node: a socket directory, and the variables and configuration of one call.
pub(crate) struct Node {
    pub(crate) dir: TempDir,
    variables: Vec<(String, String)>,
    pub(crate) conf: serde_json::Value,
}

impl Node {
    /// A valid call of `command` in version 1.1.0.
    pub(crate) fn call(command: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let conf = serde_json::json!({
            "cniVersion": "1.1.0",
            "name": "multus-cni-network",
            "type": "cnidaria-shim",
            "daemonSocketDir": dir.path(),
            "cniDir": dir.path().join("ledger"),
            "cnidaria": {"shim": {"addConnectTimeoutMs": 0}},
        });
        let variables = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "cid-plain"),
            ("CNI_NETNS", "/run/netns/g-plain"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", "K8S_POD_NAMESPACE=default;K8S_POD_NAME=plain"),
        ];
        Self {
            dir,
            variables: variables.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            conf,
        }
    }

    /// Sets the variable `name`, or unsets it if the value is empty.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.variables.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Sets a key of the configuration, or removes it if `null`.
    pub(crate) fn with_conf(mut self, key: &str, value: serde_json::Value) -> Self {
        let conf = self.conf.as_object_mut().unwrap();
        match value {
            serde_json::Value::Null => conf.remove(key),
            value => conf.insert(key.to_owned(), value),
        };
        self
    }

    pub(crate) fn socket_dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(crate) fn daemon(&self, answers: Vec<Vec<u8>>) -> Daemon {
        Daemon::start(self.dir.path(), answers)
    }

    /// Executes the shim.
    pub(crate) fn run(&self) -> Output {
        self.run_with(self.conf.to_string().as_bytes())
    }

    /// Executes the shim with `stdin` as standard input.
    pub(crate) fn run_with(&self, stdin: &[u8]) -> Output {
        let variables = self.variables.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        execute(
            Command::new(env!("CARGO_BIN_EXE_cnidaria-shim"))
                .env_clear()
                .envs(variables),
            stdin,
        )
    }
}

/// Executes `command` with `stdin` as standard input.
pub(crate) fn execute(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A shim that exits without reading everything closes the pipe; not a test failure.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Output {
        exit: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Far longer than any call that does not wait.
pub(crate) const NO_WAIT: Duration = Duration::from_secs(20);
