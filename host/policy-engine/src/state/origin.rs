//! Keys bound by a request that may still fail or rename the interface.

use std::sync::{Arc, Weak};

use super::{Bond, PolicyState, States, Value};
use crate::model::request::RequestFacts;

/// The request that bound a key.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Identified by its address, which is not reused while this exists.
    request: Weak<RequestFacts>,
    /// Whether a policy may still rename the interface.
    renames: bool,
}

impl Origin {
    fn is(&self, request: &Arc<RequestFacts>) -> bool {
        std::ptr::eq(self.request.as_ptr(), Arc::as_ptr(request))
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        self.request.ptr_eq(&other.request) && self.renames == other.renames
    }
}

impl Eq for Origin {}

/// A value that a request found and replaced with one that it bound.
#[derive(Debug)]
pub(super) struct Replaced {
    request: Weak<RequestFacts>,
    key: Arc<str>,
    pub(super) value: Value,
}

impl Replaced {
    fn is_by(&self, request: &Arc<RequestFacts>) -> bool {
        std::ptr::eq(self.request.as_ptr(), Arc::as_ptr(request))
    }
}

/// What a key will be bound to, and by which request.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    bond: Bond,
    origin: Option<Origin>,
}

impl Binding {
    /// A bond made by `request`. `renames`: a policy may still rename the interface.
    pub(crate) fn by(request: &Arc<RequestFacts>, bond: Bond, renames: bool) -> Self {
        let request = Arc::downgrade(request);
        Self {
            bond,
            origin: Some(Origin { request, renames }),
        }
    }

    /// Whether the request has already failed, so that the key would never be removed.
    pub(super) fn is_late(&self, failed: &[Weak<RequestFacts>]) -> bool {
        let Some(Origin { request, .. }) = &self.origin else {
            return false;
        };
        request.strong_count() == 0 || failed.iter().any(|one| one.ptr_eq(request))
    }

    pub(super) fn into_parts(self) -> (Bond, Option<Origin>) {
        (self.bond, self.origin)
    }
}

impl From<Bond> for Binding {
    fn from(bond: Bond) -> Self {
        Self { bond, origin: None }
    }
}

/// Changes in memory that are not in the files yet.
#[derive(Debug, Default)]
pub(crate) struct Unwritten(Vec<(Arc<PolicyState>, u64)>);

impl Unwritten {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the changes to the files; blocks.
    pub(crate) fn write(self) {
        for (state, change) in self.0 {
            state.write_removal(Some(change));
        }
    }
}

impl States {
    /// Sets the final interface name in bonds that `request` made while policies could rename it.
    pub(crate) fn rename(&self, request: &Arc<RequestFacts>, if_name: &str) -> Unwritten {
        self.change(|state| state.lock().rename(request, if_name))
    }

    /// Removes the keys that `request` bound, or restores what it found there.
    fn abandon(&self, request: &Arc<RequestFacts>) -> Unwritten {
        self.change(|state| {
            let is_bound = |value: &Value| value.origin.as_ref().is_some_and(|one| one.is(request));
            let mut contents = state.lock();
            contents.failed.retain(|one| one.strong_count() > 0);
            contents.failed.push(Arc::downgrade(request));
            contents.replaced.retain(|one| !is_bound(&one.value));
            let restored = contents.restore(request);
            contents.retain(|value| !is_bound(value)).or(restored)
        })
    }

    /// Forgets the values that a request replaced: it has succeeded.
    fn settle(&self, request: &Arc<RequestFacts>) {
        self.change(|state| {
            state.lock().replaced.retain(|one| !one.is_by(request));
            None
        });
    }

    /// Changes the state in memory. State never read from its file has no bonds of live requests.
    fn change(&self, change: impl Fn(&PolicyState) -> Option<u64>) -> Unwritten {
        let states = self.all().into_iter();
        let read = states.filter(|state| state.contents.get().is_some());
        let changed = read.filter_map(|state| {
            let change = change(&state)?;
            Some((state, change))
        });
        Unwritten(changed.collect())
    }
}

impl super::Contents {
    /// Remembers the value that a request replaces, unless it set that itself.
    pub(super) fn replace(&mut self, key: &str, found: Option<&Value>, origin: Option<&Origin>) {
        let (Some(found), Some(Origin { request, .. })) = (found, origin) else {
            return;
        };
        let is_own = |one: &Origin| one.request.ptr_eq(request);
        if !found.origin.as_ref().is_some_and(is_own) {
            self.replaced
                .retain(|one| *one.key != *key || !one.request.ptr_eq(request));
            self.replaced.push(Replaced {
                request: Weak::clone(request),
                key: key.into(),
                value: found.clone(),
            });
        }
    }

    /// Puts back what a request replaced and has not lost to another. Returns the change number if
    /// there was any.
    fn restore(&mut self, request: &Arc<RequestFacts>) -> Option<u64> {
        let replaced = std::mem::take(&mut self.replaced).into_iter();
        let (own, others) = replaced.partition::<Vec<_>, _>(|one| one.is_by(request));
        self.replaced = others;
        let mut change = None;
        for Replaced { key, value, .. } in own {
            let now = self.keys.get(&key).and_then(|now| now.origin.as_ref());
            if now.is_some_and(|origin| origin.is(request)) {
                self.change += 1;
                change = Some(self.change);
                self.put(&key, Some(value));
            }
        }
        change
    }

    /// Renames the interface in bonds. Returns the change number if any were renamed.
    fn rename(&mut self, request: &Arc<RequestFacts>, if_name: &str) -> Option<u64> {
        let mut changed = false;
        for value in self.keys.values_mut() {
            let Some(origin) = value.origin.as_mut() else {
                continue;
            };
            if !origin.is(request) || !std::mem::take(&mut origin.renames) {
                continue;
            }
            if let Some(bond) = value.bond.as_mut()
                && bond.if_name.as_deref() != Some(if_name)
            {
                Arc::make_mut(bond).if_name = Some(if_name.to_owned());
                changed = true;
            }
        }
        if !changed {
            return None;
        }
        self.change += 1;
        Some(self.change)
    }
}

/// Removes the keys that a request bound, or restores what it found there, unless the request
/// succeeds, also if it is dropped half-way.
pub(crate) struct Guard {
    states: Arc<States>,
    request: Option<Arc<RequestFacts>>,
}

impl Guard {
    /// Guards the keys that `request` binds; without a request, does nothing.
    pub(crate) fn new(states: &Arc<States>, request: Option<&Arc<RequestFacts>>) -> Self {
        Self {
            states: Arc::clone(states),
            request: request.map(Arc::clone),
        }
    }

    /// Keeps the keys: the request has succeeded.
    pub(crate) fn disarm(&mut self) {
        if let Some(request) = self.request.take() {
            self.states.settle(&request);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else {
            return;
        };
        let unwritten = self.states.abandon(&request);
        if unwritten.is_empty() {
            return;
        }
        match tokio::runtime::Handle::try_current() {
            // In the background: memory is up to date, and after a crash DEL or GC removes them.
            Ok(runtime) => drop(runtime.spawn_blocking(move || unwritten.write())),
            Err(_) => unwritten.write(),
        }
    }
}
