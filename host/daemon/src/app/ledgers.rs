//! The ledger's directories, as the daemon as a whole sees them: its own, and those that only confs
//! of runtimes name.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper::StatusCode;

use super::App;
use crate::{admin, response};
use cnidaria_core::pipeline::Error;
use cnidaria_core::ports::Ledger as _;

impl App {
    /// Carries out the DELs that shims recorded while the daemon was down, in each directory. Called
    /// once the socket is bound, so that shims record no more meanwhile.
    pub(super) async fn finish_deferred(&self, may_defer: bool) {
        if may_defer {
            let mut leaving = self.leaving.subscribe();
            tokio::select! {
                () = self.finish_deferred_everywhere(true) => {}
                _ = leaving.wait_for(|is_leaving| *is_leaving) => {}
            }
            return;
        }
        self.finish_deferred_everywhere(false).await;
    }

    async fn finish_deferred_everywhere(&self, may_defer: bool) {
        let mut more = self.pipeline.more_directories();
        let mut served: HashSet<PathBuf> = HashSet::new();
        let mut running = FuturesUnordered::new();
        loop {
            more.mark_unchanged();
            let mut known = self.pipeline.directories();
            // One that was dropped may come back.
            served.retain(|dir| known.contains(dir));
            known.retain(|dir| served.insert(dir.clone()));
            running.extend(
                known
                    .into_iter()
                    .map(|dir| self.finish_deferred_in(dir, may_defer)),
            );
            tokio::select! {
                Some(()) = running.next(), if !running.is_empty() => {}
                changed = more.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn finish_deferred_in(&self, cni_dir: PathBuf, may_defer: bool) {
        // The file system of a further directory may not be mounted yet: one that the daemon created
        // would pass for empty.
        if may_defer && (cni_dir == self.cni_dir || !self.ledger.is_missing(&cni_dir).await) {
            self.tell_shims(&cni_dir, true);
        }
        self.pipeline.finish_deferred(&cni_dir, may_defer).await;
        self.tell_shims(&cni_dir, false);
    }

    fn tell_shims(&self, cni_dir: &Path, may_defer: bool) {
        if let Err(error) = self.ledger.ask_for_deferred(cni_dir, may_defer) {
            tracing::error!(
                error = cnidaria_core::report::chain(&error),
                "shims cannot record DELs while no daemon is running"
            );
        }
    }

    /// Tells the next daemon where this one's records and delegates are.
    pub(super) async fn leave_word(&self, socket_dir: &Path) {
        if let Err(error) = self.ledger.leave_word(socket_dir, &self.directory).await {
            tracing::warn!(
                error = cnidaria_core::report::chain(&error),
                "cannot record this daemon's directories: the next one will not notice if cniDir or binDir has changed"
            );
        }
    }

    /// Called before the first request, while only this task writes to the ledger.
    pub(super) fn clean_up(&self) {
        for cni_dir in self.pipeline.directories() {
            if let Err(error) = self.ledger.sweep(&cni_dir) {
                tracing::error!(
                    error = cnidaria_core::report::chain(&error),
                    "cannot remove unfinished files of the ledger; they only take space"
                );
            }
        }
    }

    /// Lists all attachments. A directory that cannot be read does not hide the others.
    pub(super) async fn list(&self) -> (StatusCode, Vec<u8>) {
        let mut attachments = Vec::new();
        let mut unreadable = Vec::new();
        let mut failed = None;
        let directories = self.pipeline.directories();
        for cni_dir in &directories {
            let listing = match self.pipeline.entries(cni_dir).await {
                Ok(listing) => listing,
                Err(error) => {
                    tracing::error!(
                        dir = %cni_dir.display(),
                        error = cnidaria_core::report::chain(&error),
                        "cannot list the attachments of a cniDir"
                    );
                    failed = Some(error);
                    continue;
                }
            };
            for (container, error) in &listing.unreadable {
                tracing::error!(%container, error = cnidaria_core::report::chain(error), "cannot list the attachments of a container");
            }
            let undos = self.pipeline.undos(cni_dir);
            attachments.extend(listing.entries.into_iter().map(|entry| {
                let undo = undos
                    .iter()
                    .find(|undo| undo.container_id == entry.container_id);
                admin::attachment(entry, undo, cni_dir)
            }));
            let damaged = listing.unreadable.iter();
            unreadable.extend(damaged.map(|one| admin::unreadable(one, cni_dir)));
        }
        match failed {
            Some(error) if attachments.is_empty() && unreadable.is_empty() => {
                response::respond(Err(error.into()))
            }
            _ => admin::answer(attachments, unreadable, self.collected()),
        }
    }

    /// Forgets a container, or one of its interfaces, in the chosen directory or else in the only one
    /// that has it.
    pub(super) async fn forget_in_ledger(&self, body: &[u8]) -> (StatusCode, Vec<u8>) {
        let meant = match admin::forget(body) {
            Ok(meant) => meant,
            Err(error) => return response::refused(&error),
        };
        let (container, if_name) = (&meant.container, meant.if_name.as_ref());
        let cni_dir = match meant.cni_dir {
            Some(dir) => {
                let known = self.pipeline.directories();
                if !known.contains(&dir) {
                    return response::refused(&admin::unknown_directory(&dir, &known));
                }
                dir
            }
            None => match &self.pipeline.holding(container, if_name).await[..] {
                [] => return response::respond(Err(Error::NotAttached(container.clone()))),
                [only] => only.clone(),
                several => return response::refused(&admin::ambiguous(container, several)),
            },
        };
        let forgotten = self.pipeline.forget(&cni_dir, container, if_name).await;
        match forgotten {
            Ok(entries) => {
                let forgotten = entries.into_iter();
                let forgotten = forgotten.map(|entry| admin::attachment(entry, None, &cni_dir));
                admin::answer(forgotten.collect(), Vec::new(), Vec::new())
            }
            Err(error) => response::respond(Err(error)),
        }
    }
}
