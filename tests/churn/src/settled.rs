//! What is on the node, by the kernel, by host-local and by the ledger.

use std::thread;
use std::time::{Duration, Instant};

use node::Node;
use node::inspect;

use crate::error::{Error, end_of};

/// Time limit for what daemons finish in the background.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// Everything that an attachment leaves on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    links: Vec<String>,
    addresses: Vec<String>,
    ledger: Vec<String>,
}

impl State {
    pub(crate) fn of(node: &Node) -> Result<Self, Error> {
        let mut links = inspect::links(None)?;
        // The bridge plugin keeps its bridge for the next pod.
        links.retain(|link| link.kind != "bridge");
        let ledger = inspect::files(&node.path("ledger"))?.into_keys();
        let mut addresses = inspect::reserved_addresses(node)?;
        addresses.sort();
        Ok(Self {
            links: links.into_iter().map(|link| link.name).collect(),
            addresses,
            ledger: ledger.map(|path| path.display().to_string()).collect(),
        })
    }
}

/// Waits until the node is in a state.
///
/// # Errors
/// [`Error::Wrong`] with the difference.
pub(crate) fn wait_for(node: &Node, wanted: &State) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        let found = State::of(node)?;
        if found == *wanted {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(Error::Wrong {
                what: format!("left on the node: {found:#?}, expected: {wanted:#?}"),
                log: end_of(&node.log()),
            });
        }
        thread::sleep(POLL);
    }
}
