//! A fake API server, started beside the measured daemon and queried by the yardstick.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_api::{FakeApi, Recorded, User};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use shim_api::http::{Decoder, Progress};
use tokio::runtime::Runtime;

use crate::error::Error;
use crate::manifests;

/// The server's latency per response, typical of a real server's small write.
pub(crate) const LATENCY: Duration = Duration::from_millis(4);

/// The daemon's permissions.
const ROLES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/kustomize/base/rbac.yaml"
);
const MAX_ANSWER: usize = 1 << 20;

/// A running API server, stopped on drop.
pub(crate) struct Api {
    // Dropped before the runtime it runs on.
    server: FakeApi,
    _runtime: Runtime,
    pub(crate) kubeconfig: PathBuf,
    token: String,
}

/// Counts of requests to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Writes of network-status.
    pub(crate) patches: usize,
    /// Events, which no CNI request waits for.
    pub(crate) events: usize,
    /// Everything else.
    pub(crate) others: usize,
}

impl Api {
    /// Starts a server with these objects and writes the daemon's kubeconfig to a directory.
    pub(crate) fn start(directory: &Path, objects: Vec<Value>) -> Result<Self, Error> {
        let failed = |said: String| Error::Failed {
            what: "starting the API server".to_owned(),
            said,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let server = runtime
            .block_on(FakeApi::builder().roles(ROLES).start())
            .map_err(|error| failed(error.to_string()))?;
        let token = server.issue_token(User::service_account("kube-system", "cnidaria"));
        let kubeconfig = directory.join("kubeconfig");
        server
            .write_kubeconfig(&kubeconfig, &token)
            .map_err(Error::file(&kubeconfig))?;
        server.apply(manifests::list(objects));
        server.set_latency(LATENCY);
        Ok(Self {
            server,
            _runtime: runtime,
            kubeconfig,
            token,
        })
    }

    /// The counts since the last call.
    pub(crate) fn asked(&self) -> Asked {
        let requests = self.server.take_requests();
        let count =
            |fits: &dyn Fn(&Recorded) -> bool| requests.iter().filter(|one| fits(one)).count();
        let is_patch = |one: &Recorded| one.verb == "patch" && one.resource == "pods/status";
        let is_event = |one: &Recorded| one.resource == "events";
        Asked {
            patches: count(&is_patch),
            events: count(&is_event),
            others: count(&|one| !is_patch(one) && !is_event(one) && one.verb != "watch"),
        }
    }

    /// Waits until requests stop, so that background work does not disturb the next measurement.
    pub(crate) fn settle(&self) {
        const QUIET: Duration = Duration::from_millis(60);
        const PATIENCE: Duration = Duration::from_secs(60);
        let start = Instant::now();
        loop {
            self.asked();
            std::thread::sleep(QUIET);
            let quiet = self.asked()
                == Asked {
                    patches: 0,
                    events: 0,
                    others: 0,
                };
            if quiet || start.elapsed() > PATIENCE {
                return;
            }
        }
    }

    /// Opens a connection that writes network-status as the daemon does.
    pub(crate) fn connect(&self) -> Result<Patcher, Error> {
        let failed = |said: String| Error::Failed {
            what: "connecting to the API server".to_owned(),
            said,
        };
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.server.ca().as_bytes())
            .map_err(|error| failed(error.to_string()))?;
        roots.add(ca).map_err(|error| failed(error.to_string()))?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = self.server.url().replace("https://", "");
        let name = ServerName::try_from("127.0.0.1").map_err(|error| failed(error.to_string()))?;
        let connection = ClientConnection::new(Arc::new(config), name)
            .map_err(|error| failed(error.to_string()))?;
        let stream = TcpStream::connect(&address).map_err(|error| failed(error.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| failed(error.to_string()))?;
        Ok(Patcher {
            stream: StreamOwned::new(connection, stream),
            token: self.token.clone(),
        })
    }
}

/// A persistent connection to the API server.
pub(crate) struct Patcher {
    stream: StreamOwned<ClientConnection, TcpStream>,
    token: String,
}

impl Patcher {
    /// A: writes a pod's network-status; returns how long that took.
    pub(crate) fn patch(&mut self, pod: &str) -> Result<Duration, Error> {
        let status =
            json!([{ "name": "cluster", "interface": "eth0", "default": true, "dns": {} }]);
        let body = json!({
            "metadata": {
                "uid": manifests::uid(pod),
                "annotations": { "k8s.v1.cni.cncf.io/network-status": status.to_string() },
            },
        })
        .to_string();
        let request = format!(
            "PATCH /api/v1/namespaces/default/pods/{pod}/status?fieldManager=cnidaria HTTP/1.1\r\n\
             host: 127.0.0.1\r\nauthorization: Bearer {}\r\n\
             content-type: application/merge-patch+json\r\n\
             accept: application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        let failed = |said: String| Error::Failed {
            what: format!("PATCH of {pod}"),
            said,
        };
        let start = Instant::now();
        self.stream
            .write_all(request.as_bytes())
            .and_then(|()| self.stream.flush())
            .map_err(|error| failed(error.to_string()))?;
        let mut decoder = Decoder::new(MAX_ANSWER);
        let mut bytes = [0; 8192];
        loop {
            let read = self
                .stream
                .read(&mut bytes)
                .map_err(|error| failed(error.to_string()))?;
            let fed = decoder.feed(bytes.get(..read).unwrap_or_default());
            let done = fed.map_err(|error| failed(error.to_string()))?;
            if read == 0 || done == Progress::Done {
                break;
            }
        }
        let took = start.elapsed();
        let answer = decoder
            .finish()
            .map_err(|error| failed(error.to_string()))?;
        match answer.status {
            200 => Ok(took),
            status => Err(failed(format!(
                "{status} {}",
                String::from_utf8_lossy(&answer.body)
            ))),
        }
    }
}
