//! Forgetting attachments that cannot be undone, on the operator's order.

use std::sync::Arc;

use cni_types::args::{ContainerId, IfName};

use super::dirs::Dirs;
use super::{Error, Pipeline, undo};
use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;
use crate::ports::LedgerError;

pub(super) async fn forget(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    container: &ContainerId,
    if_name: Option<&IfName>,
) -> Result<Vec<Entry>, Error> {
    let _turn = pipeline.turns.take_over(container).await;
    let sandbox = Sandbox::recorded(container.clone());
    let entries = match pipeline.ledger.load(&dirs.cni, &sandbox).await {
        Ok(Some(entries)) => entries,
        Ok(None) => return Err(Error::NotAttached(container.clone())),
        // Of a file that cannot be read nothing is known but the container's id.
        Err(LedgerError::Damaged { .. }) if if_name.is_none() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let is_meant = |entry: &Entry| if_name.is_none_or(|name| entry.if_name == *name);
    let (meant, staying): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_meant);
    if meant.is_empty() && if_name.is_some() {
        return Err(Error::NotAttached(container.clone()));
    }
    for entry in &meant {
        pipeline.ledger.forget_result(&dirs.cni, entry).await?;
        undo::give_up(pipeline, entry, "an operator had it forgotten");
    }
    undo::settle(pipeline, dirs, container, staying, Vec::new()).await?;
    Ok(meant)
}
