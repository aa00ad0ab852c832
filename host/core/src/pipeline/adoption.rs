//! Takes ledger directories into use: at start those that earlier daemons remembered, later those
//! that a request's conf names. What is left in a new one is resumed.

use std::path::Path;
use std::sync::Arc;

use super::directories::own;
use super::dirs::Dirs;
use super::{Pipeline, reboot, retrying};
use crate::ports::{Directory, LedgerError, Remembered};
use crate::supervision;

/// More runtimes than any node has.
const MAX: usize = 32;

/// Begins with `cni_dir`, the daemon's own directory, and those that earlier daemons remembered.
/// Schedules the undos in all of them.
pub(super) async fn begin(pipeline: &Pipeline, cni_dir: &Path) {
    let own = own(pipeline, cni_dir);
    let mut current = own.clone();
    let mut further = Vec::new();
    let mut is_changed = false;
    let is_incomplete = match pipeline.ports.ledger.directories().await {
        Ok(remembered) => {
            for one in remembered.directories.iter().take(MAX - 1) {
                let dirs = Dirs::new(&one.cni_dir, &one.bin_dirs);
                match dirs.cni == own.cni {
                    // `binDir` was another one: it is searched last.
                    true => current = dirs.searching(&current.bin),
                    false => add(&mut further, &dirs),
                }
            }
            !remembered.is_complete
        }
        Err(error) => {
            tracing::error!(
                error = crate::report::chain(&error),
                "cannot read which further cniDirs are in use; the daemon finds each with its next request, \
                 and no delegate collects garbage until the node is started again"
            );
            is_changed = true;
            true
        }
    };
    pipeline.directories.set_incomplete(is_incomplete);
    if current.bin != own.bin && !pipeline.ports.ledger.is_used(&own.cni).await {
        current = own.clone();
        is_changed = true;
    }
    let mut known = vec![current];
    known.append(&mut further);
    is_changed |= drop_unused(pipeline, &mut known, Missing::Keep).await;
    if is_changed && let Err(error) = remember(pipeline, &own, &known).await {
        tracing::warn!(
            error = crate::report::chain(&error),
            "cannot forget unused cniDirs; the next daemon tries again"
        );
    }
    pipeline.directories.replace(known.clone());
    for dirs in known {
        retrying::resume(pipeline, &dirs.cni).await;
    }
}

/// Adds `dirs`, or its search path to a directory that is known.
fn add(known: &mut Vec<Dirs>, dirs: &Dirs) {
    match known.iter_mut().find(|known| known.cni == dirs.cni) {
        Some(known) => *known = known.searching(&dirs.bin),
        None => known.push(dirs.clone()),
    }
}

/// What to do with directories that do not exist at present.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// Their file system may be mounted later.
    Keep,
    /// Others need the room.
    Drop,
}

/// Drops the directories that have nothing recorded, except for the daemon's own; returns whether
/// there were any.
async fn drop_unused(pipeline: &Pipeline, known: &mut Vec<Dirs>, missing: Missing) -> bool {
    let ledger = &pipeline.ports.ledger;
    let before = known.len();
    let mut used = Vec::with_capacity(before);
    for (position, dirs) in known.drain(..).enumerate() {
        let is_kept = position == 0
            || (missing == Missing::Keep && ledger.is_missing(&dirs.cni).await)
            || !ledger.abandon_unused(&dirs.cni).await;
        if is_kept {
            used.push(dirs);
        }
    }
    *known = used;
    known.len() < before
}

async fn remember(pipeline: &Pipeline, own: &Dirs, known: &[Dirs]) -> Result<(), LedgerError> {
    let is_further = |dirs: &&Dirs| dirs.cni != own.cni || dirs.bin != own.bin;
    let further = known.iter().filter(is_further).map(|dirs| Directory {
        cni_dir: dirs.cni.to_path_buf(),
        bin_dirs: dirs.bin.to_vec(),
    });
    let remembered = Remembered {
        directories: further.collect(),
        is_complete: !pipeline.directories.are_incomplete(),
    };
    let ledger = &pipeline.ports.ledger;
    ledger.record_directories(&remembered).await
}

/// Remembers the directories of a request, before it changes anything. `makes` says whether the
/// request may create the directory. What an earlier daemon left in a new one is resumed.
///
/// # Errors
/// [`LedgerError::TooManyDirectories`]; an ADD must not make anything then.
pub(super) async fn adopt(
    pipeline: &Arc<Pipeline>,
    dirs: &Dirs,
    makes: bool,
) -> Result<(), LedgerError> {
    let directories = &pipeline.directories;
    if directories.has(dirs) {
        return Ok(());
    }
    let _adopting = directories.adopting.lock().await;
    if directories.has(dirs) || (!makes && !pipeline.ports.ledger.is_used(&dirs.cni).await) {
        return Ok(());
    }
    let mut known = directories.all();
    let Some(own) = known.first().map(|first| own(pipeline, &first.cni)) else {
        return Ok(());
    };
    let is_new = known.iter().all(|known| known.cni != dirs.cni);
    if is_new && known.len() >= MAX {
        drop_unused(pipeline, &mut known, Missing::Drop).await;
        if known.len() >= MAX {
            return Err(LedgerError::TooManyDirectories {
                dir: dirs.cni.to_path_buf(),
                limit: MAX,
            });
        }
    }
    add(&mut known, dirs);
    if makes {
        // One that is missing later has lost what it records.
        pipeline.ports.ledger.make_directory(&dirs.cni).await?;
    }
    if let Err(error) = remember(pipeline, &own, &known).await {
        // The runtime's next request after a restart makes up for it.
        tracing::error!(
            dir = %dirs.cni.display(),
            error = crate::report::chain(&error),
            "cannot remember a further cniDir: after a restart, undos in it wait for its runtime's next request"
        );
    }
    if is_new {
        tracing::info!(dir = %dirs.cni.display(), "a further cniDir is in use");
        // Before the request, which may be the DEL that cancels an undo.
        retrying::resume(pipeline, &dirs.cni).await;
        let state = (Arc::clone(pipeline), dirs.clone());
        supervision::spawn("undo of a cniDir", state, |(pipeline, dirs)| {
            Box::pin(reboot::undo(pipeline, dirs))
        });
    }
    directories.replace(known);
    Ok(())
}
