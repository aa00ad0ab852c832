//! A client of the Container Runtime Interface like the kubelet's: gRPC over HTTP/2 on a unix
//! socket, with one connection per call.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use node::Pod;
use prost::Message;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::error::Error;
use crate::messages::{
    LinuxPodSandboxConfig, ListPodSandboxRequest, ListPodSandboxResponse, Nothing,
    PodSandboxConfig, PodSandboxMetadata, PodSandboxRequest, PodSandboxStatusResponse,
    RunPodSandboxRequest, RunPodSandboxResponse, StatusRequest, StatusResponse,
};

/// One byte for the compression flag, four for the length.
const FRAME_HEAD: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of the runtime's socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    cgroup_parent: String,
    logs: PathBuf,
}

/// A sandbox's status.
#[derive(Debug, Clone)]
pub struct Status {
    /// Address of the default network.
    pub ip: String,
    /// Path of the network namespace.
    pub netns: PathBuf,
}

impl Client {
    pub(crate) fn new(socket: &Path, cgroup_parent: &str, logs: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            cgroup_parent: cgroup_parent.to_owned(),
            logs: logs.to_owned(),
        }
    }

    /// RunPodSandbox: returns the sandbox's id.
    ///
    /// # Errors
    /// [`Error::Refused`] when the pod's networks cannot be attached.
    pub fn run(&self, pod: &Pod) -> Result<String, Error> {
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                namespace: pod.namespace.clone(),
            }),
            hostname: pod.name.clone(),
            log_directory: self.logs.display().to_string(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup_parent.clone(),
            }),
        };
        let request = RunPodSandboxRequest {
            config: Some(config),
        };
        let answer: RunPodSandboxResponse = self.call("RunPodSandbox", &request)?;
        Ok(answer.pod_sandbox_id)
    }

    /// PodSandboxStatus.
    ///
    /// # Errors
    /// [`Error::Answer`] when the response lacks the network namespace.
    pub fn status(&self, sandbox: &str) -> Result<Status, Error> {
        let method = "PodSandboxStatus";
        let answer: PodSandboxStatusResponse = self.call(method, &of(sandbox))?;
        let info = answer.info.get("info").map_or("", String::as_str);
        let info: Value = serde_json::from_str(info).map_err(|error| Error::Answer {
            method,
            reason: error.to_string(),
        })?;
        let namespaces = info.pointer("/runtimeSpec/linux/namespaces");
        let network = namespaces
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find(|namespace| namespace.get("type").is_some_and(|kind| kind == "network"));
        let netns = network
            .and_then(|namespace| namespace.get("path")?.as_str())
            .ok_or_else(|| Error::Answer {
                method,
                reason: format!("no network namespace in {info}"),
            })?;
        let network = answer.status.and_then(|status| status.network);
        Ok(Status {
            ip: network.map(|network| network.ip).unwrap_or_default(),
            netns: netns.into(),
        })
    }

    /// ListPodSandbox: the ids of all sandboxes, including those that failed to start.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let answer: ListPodSandboxResponse =
            self.call("ListPodSandbox", &ListPodSandboxRequest {})?;
        Ok(answer.items.into_iter().map(|one| one.id).collect())
    }

    /// StopPodSandbox.
    ///
    /// # Errors
    /// [`Error::Refused`] when its networks cannot be detached.
    pub fn stop(&self, sandbox: &str) -> Result<(), Error> {
        self.call("StopPodSandbox", &of(sandbox))
            .map(|Nothing {}| ())
    }

    /// RemovePodSandbox.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn remove(&self, sandbox: &str) -> Result<(), Error> {
        self.call("RemovePodSandbox", &of(sandbox))
            .map(|Nothing {}| ())
    }

    /// Status: the conditions that are not ready; empty when the runtime is ready.
    ///
    /// # Errors
    /// [`Error::Connection`] until it listens.
    pub fn not_ready(&self) -> Result<Vec<String>, Error> {
        let answer: StatusResponse = self.call("Status", &StatusRequest { verbose: false })?;
        let conditions = answer.status.unwrap_or_default().conditions;
        let missing = conditions.into_iter().filter(|condition| !condition.status);
        Ok(missing
            .map(|condition| format!("{}: {}", condition.kind, condition.message))
            .collect())
    }

    /// Status: the CNI confs that the runtime has loaded, in its own JSON format.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub fn confs(&self) -> Result<String, Error> {
        let mut answer: StatusResponse = self.call("Status", &StatusRequest { verbose: true })?;
        Ok(answer.info.remove("cniconfig").unwrap_or_default())
    }

    fn call<Answer: Message + Default>(
        &self,
        method: &'static str,
        request: &impl Message,
    ) -> Result<Answer, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Connection { method, source })?;
        runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, unary(&self.socket, method, request)).await {
                Ok(answered) => answered,
                Err(_) => Err(Error::Connection {
                    method,
                    source: io::ErrorKind::TimedOut.into(),
                }),
            }
        })
    }
}

fn of(sandbox: &str) -> PodSandboxRequest {
    PodSandboxRequest {
        pod_sandbox_id: sandbox.to_owned(),
        verbose: true,
    }
}

/// Sends one message and receives one.
async fn unary<Answer: Message + Default>(
    socket: &Path,
    method: &'static str,
    request: &impl Message,
) -> Result<Answer, Error> {
    let http = |source| Error::Http { method, source };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| Error::Connection { method, source })?;
    let (client, connection) = h2::client::handshake(stream).await.map_err(http)?;
    let driving = tokio::spawn(connection);
    let mut client = client.ready().await.map_err(http)?;
    let head = http::Request::post(format!(
        "http://localhost/runtime.v1.RuntimeService/{method}"
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .body(())
    .expect("the parts are valid");
    let (answer, mut body) = client.send_request(head, false).map_err(http)?;
    body.send_data(frame(request), true).map_err(http)?;
    let answer = answer.await.map_err(http)?;
    let head = answer.headers().clone();
    let mut body = answer.into_body();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(http)?;
        // Releases the flow-control window; long responses would stall otherwise.
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await.map_err(http)?.unwrap_or(head);
    driving.abort();
    let text = |name: &str| {
        let value = trailers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    match text("grpc-status").as_str() {
        "0" => Answer::decode(bytes.get(FRAME_HEAD..).unwrap_or_default()).map_err(|error| {
            Error::Answer {
                method,
                reason: error.to_string(),
            }
        }),
        status => Err(Error::Refused {
            method,
            status: status.to_owned(),
            message: text("grpc-message"),
        }),
    }
}

fn frame(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut frame = BytesMut::with_capacity(FRAME_HEAD + body.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(body.len()).expect("a short message"));
    frame.put_slice(&body);
    frame.freeze()
}
