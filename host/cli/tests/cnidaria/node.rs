//! A node with a socket directory, on which tests run commands.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use tempfile::TempDir;

pub(crate) struct Node {
    dir: TempDir,
}

impl Node {
    /// A node without a daemon.
    pub(crate) fn idle() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A node whose daemon answers one `GET` of `path` with this status and body.
    pub(crate) fn serving(path: &'static str, status: u16, body: &str) -> Self {
        Self::serving_all([(format!("GET {path} HTTP/1.1\r\n"), status, body.to_owned())])
    }

    /// A node whose daemon answers requests with these prefixes, in order.
    pub(crate) fn serving_all<const N: usize>(requests: [(String, u16, String); N]) -> Self {
        let node = Self::idle();
        let listener = UnixListener::bind(node.socket()).unwrap();
        thread::spawn(move || {
            for (expected, status, body) in requests {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 4096];
                let count = stream.read(&mut request).unwrap();
                let answer = format!(
                    "HTTP/1.1 {status} Text\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                // Without a response the command fails, and with it the test.
                if request
                    .get(..count)
                    .unwrap()
                    .starts_with(expected.as_bytes())
                {
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        node
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir().join("multus.sock")
    }

    /// Runs `cnidaria` with these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_cnidaria"))
            .arg("--socket-dir")
            .arg(self.dir())
            .args(arguments)
            .output()
            .unwrap();
        Output {
            exit: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Asserts success without messages and returns standard output.
    pub(crate) fn success(self) -> String {
        assert_eq!(self.exit, Some(0), "{self:?}");
        assert_eq!(self.stderr, "");
        self.stdout
    }

    /// Asserts failure without standard output and returns the message.
    pub(crate) fn failure(self) -> String {
        assert_eq!(self.exit, Some(1), "{self:?}");
        assert_eq!(self.stdout, "");
        self.stderr
    }
}
