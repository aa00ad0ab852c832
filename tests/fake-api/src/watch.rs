//! Watches: the history from a version on, filtered for one client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Sender;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::kinds::Kind;
use crate::object::{Selector, shown, text};
use crate::status::Refusal;
use crate::store::{Change, Store};

/// What tests can do to running watches.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    /// 410: the version is too old.
    Expire,
    /// The server ends them, as it does after a timeout.
    End,
    /// The connection breaks.
    Break,
    Bookmark,
}

/// The parameters of one watch.
pub(crate) struct Watch {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) selector: Selector,
    pub(crate) accept: String,
    /// The starting version; `None` starts with all objects.
    pub(crate) from: Option<u64>,
    /// Whether a bookmark marks the end of the initial objects.
    pub(crate) streamed_list: bool,
    /// Delay before the initial objects.
    pub(crate) delay: Duration,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Duration,
}

type Body = Sender<Bytes, std::io::Error>;

impl Watch {
    pub(crate) async fn serve(
        self,
        store: Arc<Mutex<Store>>,
        mut commands: broadcast::Receiver<Command>,
        mut body: Body,
    ) {
        if self.streamed_list {
            tokio::time::sleep(self.delay).await;
        }
        let lock = || store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut versions = lock().versions.subscribe();
        let (mut seen, initial) = match self.from {
            Some(version) => (version, Vec::new()),
            None => {
                let store = lock();
                (store.version(), self.initial(&store))
            }
        };
        for line in initial {
            if body.send_data(line).await.is_err() {
                return;
            }
        }
        let end = Instant::now() + self.timeout;
        loop {
            let changes = {
                let store = lock();
                versions.mark_unchanged();
                store.since(seen)
            };
            let Some(changes) = changes else {
                let _ = body
                    .send_data(self.line("ERROR", &Refusal::gone().object()))
                    .await;
                return;
            };
            for change in changes {
                seen = change.version;
                if let Some(line) = self.event(&change)
                    && body.send_data(line).await.is_err()
                {
                    return;
                }
            }
            tokio::select! {
                changed = versions.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(end) => return,
                command = commands.recv() => match command {
                    Ok(Command::Expire) => {
                        let _ = body.send_data(self.line("ERROR", &Refusal::gone().object())).await;
                        return;
                    }
                    Ok(Command::Break) => {
                        body.abort(std::io::ErrorKind::ConnectionReset.into());
                        return;
                    }
                    Ok(Command::Bookmark) if self.bookmarks => {
                        seen = seen.max(lock().version());
                        if body.send_data(self.bookmark(seen, false)).await.is_err() { return }
                    }
                    Ok(Command::Bookmark) => {}
                    Ok(Command::End) | Err(_) => return,
                },
            }
        }
    }

    fn initial(&self, store: &Store) -> Vec<Bytes> {
        let mut lines: Vec<Bytes> = store
            .all(self.kind, self.namespace.as_deref())
            .filter(|(_, object)| self.selector.fits(object))
            .map(|(_, object)| self.line("ADDED", &shown(object, &self.accept)))
            .collect();
        if self.streamed_list {
            lines.push(self.bookmark(store.version(), true));
        }
        lines
    }

    /// An object that starts to match the selector is added, one that stops is deleted.
    fn event(&self, change: &Change) -> Option<Bytes> {
        if change.kind != self.kind {
            return None;
        }
        let fits = |object: &&Value| {
            let namespace = text(object, "/metadata/namespace");
            self.namespace
                .as_deref()
                .is_none_or(|wanted| wanted == namespace)
                && self.selector.fits(object)
        };
        let before = change.before.as_ref().filter(fits);
        let after = change.after.as_ref().filter(fits);
        let (kind, object) = match (before, after) {
            (None, Some(after)) => ("ADDED", after.clone()),
            (Some(_), Some(after)) => ("MODIFIED", after.clone()),
            (Some(before), None) => {
                let mut last = before.clone();
                last["metadata"]["resourceVersion"] = json!(change.version.to_string());
                ("DELETED", last)
            }
            (None, None) => return None,
        };
        Some(self.line(kind, &shown(&object, &self.accept)))
    }

    fn bookmark(&self, version: u64, initial_end: bool) -> Bytes {
        let annotations = match initial_end {
            true => json!({"k8s.io/initial-events-end": "true"}),
            false => json!({}),
        };
        let object = json!({
            "kind": self.kind.kind,
            "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": version.to_string(), "annotations": annotations},
        });
        self.line("BOOKMARK", &object)
    }

    fn line(&self, kind: &str, object: &Value) -> Bytes {
        // The real server writes the type first.
        Bytes::from(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n"))
    }
}
