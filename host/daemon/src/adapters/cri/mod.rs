//! Asks the container runtime for its sandboxes, over the socket of the Container Runtime Interface.
//! Connects only when asked: the runtime may restart in between.

mod messages;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use cni_types::args::ContainerId;
use libcni::Root;

use super::grpc::{self, Connection};
use cnidaria_core::ports::{Sandboxes, SandboxesError};
use messages::{ListPodSandboxRequest, ListPodSandboxResponse, MAX_SANDBOXES};

const LIST: &str = "/runtime.v1.RuntimeService/ListPodSandbox";

/// Why the runtime's answer cannot be used.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Call(#[from] grpc::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the answer has {0} sandboxes, more than {MAX_SANDBOXES}")]
    TooMany(usize),
    /// A list with one is not the list of sandboxes that CNI requests are about.
    #[error("the answer has a sandbox without a valid id")]
    Id(#[source] cni_types::args::Error),
}

/// How to reach the runtime.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Path of its socket on the node.
    pub socket: PathBuf,
    /// Timeout for its answer.
    pub patience: Duration,
    /// The node's root directory, if it is not the daemon's.
    pub root: Option<Root>,
}

/// The runtime's sandboxes.
#[derive(Debug)]
pub struct Cri {
    settings: Settings,
}

impl Cri {
    /// Creates the adapter without connecting.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    async fn ask(&self) -> Result<BTreeSet<ContainerId>, Error> {
        let Settings { socket, root, .. } = &self.settings;
        let mut connection = Connection::open(socket, root.as_ref()).await?;
        let answer: ListPodSandboxResponse =
            connection.unary(LIST, &ListPodSandboxRequest {}).await?;
        if answer.count > MAX_SANDBOXES {
            return Err(Error::TooMany(answer.count));
        }
        let ids = answer.items.into_iter().map(|one| ContainerId::new(one.id));
        ids.collect::<Result<_, _>>().map_err(Error::Id)
    }
}

#[async_trait]
impl Sandboxes for Cri {
    async fn list(&self) -> Result<BTreeSet<ContainerId>, SandboxesError> {
        let patience = self.settings.patience;
        let listed = match tokio::time::timeout(patience, self.ask()).await {
            Ok(listed) => listed,
            Err(_) => Err(Error::Timeout(patience)),
        };
        listed.map_err(|error| SandboxesError {
            socket: self.settings.socket.clone(),
            reason: cnidaria_core::report::chain(&error),
        })
    }
}
