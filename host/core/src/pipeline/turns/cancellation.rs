//! How a DEL cancels requests. It reaches those for what it deletes: a DEL of another interface
//! leaves them alone.

use std::collections::BTreeMap;
use std::future::Future;

use cni_types::args::IfName;
use tokio::sync::watch;

/// What a DEL is about.
#[derive(Debug, Clone, Copy)]
pub(in crate::pipeline) enum Reach<'a> {
    /// The whole container.
    Whole,
    /// One interface.
    Interface(&'a IfName),
}

/// Counts the DELs of a container.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    whole: u64,
    interfaces: BTreeMap<IfName, u64>,
}

impl Deletions {
    pub(super) fn add(&mut self, reach: Reach<'_>) {
        match reach {
            Reach::Whole => self.whole += 1,
            Reach::Interface(if_name) => {
                *self.interfaces.entry(if_name.clone()).or_default() += 1;
            }
        }
    }

    /// How many reach a request for this interface.
    fn reaching(&self, if_name: Option<&IfName>) -> u64 {
        let own = if_name.and_then(|if_name| self.interfaces.get(if_name));
        self.whole + own.copied().unwrap_or_default()
    }
}

/// A DEL cancelled a waiting or running request.
#[derive(Debug)]
pub(in crate::pipeline) struct Superseded;

/// Notices the DELs that reach one request.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Cancellation {
    deletions: watch::Receiver<Deletions>,
    if_name: Option<IfName>,
    /// How many reached it before it began.
    earlier: u64,
}

impl Cancellation {
    pub(super) fn new(deletions: &watch::Sender<Deletions>, if_name: Option<&IfName>) -> Self {
        let deletions = deletions.subscribe();
        let earlier = deletions.borrow().reaching(if_name);
        Self {
            deletions,
            if_name: if_name.cloned(),
            earlier,
        }
    }

    /// Runs `work` until a DEL cancels it.
    pub(in crate::pipeline) async fn unless_superseded<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Superseded> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(Superseded),
            done = work => Ok(done),
        }
    }

    async fn cancelled(&mut self) {
        let (if_name, earlier) = (self.if_name.as_ref(), self.earlier);
        let is_reached = |deletions: &Deletions| deletions.reaching(if_name) != earlier;
        if self.deletions.wait_for(is_reached).await.is_err() {
            // No request for the container is left that could be cancelled.
            std::future::pending().await
        }
    }
}
