//! What a policy learns from outside its request during a call: lookups, state, time and random
//! bytes. Noted while the daemon records, and answered from the record while it is replayed.
//!
//! The running call's notes are in a thread-local: the functions that answer guests are shared by
//! all requests, and a guest's call runs on one thread while it is polled.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use serde::{Deserialize, Serialize};

use crate::model::grant::Grant;

/// Maximum bytes of the notes of one call: a guest may ask for as much as its time allows.
const MAX_BYTES: usize = 256 << 10;

/// What one call asked for, with the answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Outside {
    /// Lookups in the cluster by [`Question`]'s text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) lookups: BTreeMap<String, Option<String>>,
    /// The values of the policy's state, base64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) state: BTreeMap<String, Option<Bytes>>,
    /// The keys of the policy's state by prefix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) keys: BTreeMap<String, Vec<String>>,
    /// Times in milliseconds since 1970, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) clock: Vec<u64>,
    /// Random bytes, in order.
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub(crate) random: Bytes,
    /// Keys of the state that the call has set: later answers are its own.
    #[serde(skip)]
    set: BTreeSet<String>,
    /// More was asked for than is noted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cut: bool,
    #[serde(skip)]
    bytes: usize,
    /// Grants without which an edit would have been refused.
    #[serde(skip)]
    pub(crate) grants: BTreeSet<Grant>,
}

/// Bytes, as base64 in JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let text = String::deserialize(deserializer)?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        bytes.map(Self).map_err(serde::de::Error::custom)
    }
}

/// A lookup in the cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question<'a> {
    NamespaceLabel(&'a str, &'a str),
    NamespaceLabels(&'a str),
    NamespaceAnnotation(&'a str, &'a str),
    NamespaceAnnotations(&'a str),
    NadConf(&'a str, &'a str),
    NadAnnotation(&'a str, &'a str, &'a str),
    NadAnnotations(&'a str, &'a str),
    /// Attachments of the node, by what was asked for as JSON.
    Attachments(&'a str),
    NodeLabel(&'a str),
    NodeLabels,
    NodeAnnotation(&'a str),
    NodeAnnotations,
}

impl Question<'_> {
    /// The lookup in words, which identify it in a record.
    fn text(self) -> String {
        match self {
            Self::NamespaceLabel(namespace, key) => format!("label {key} of namespace {namespace}"),
            Self::NamespaceAnnotation(namespace, key) => {
                format!("annotation {key} of namespace {namespace}")
            }
            Self::NadConf(namespace, name) => format!("conf of network {namespace}/{name}"),
            Self::NadAnnotation(namespace, name, key) => {
                format!("annotation {key} of network {namespace}/{name}")
            }
            Self::Attachments(query) => format!("attachments {query}"),
            Self::NodeLabel(key) => format!("label {key} of the node"),
            Self::NodeAnnotation(key) => format!("annotation {key} of the node"),
            Self::NamespaceLabels(namespace) => format!("labels of namespace {namespace}"),
            Self::NamespaceAnnotations(namespace) => {
                format!("annotations of namespace {namespace}")
            }
            Self::NadAnnotations(namespace, name) => {
                format!("annotations of network {namespace}/{name}")
            }
            Self::NodeLabels => "labels of the node".to_owned(),
            Self::NodeAnnotations => "annotations of the node".to_owned(),
        }
    }
}

/// The answers that a record has for one call.
#[derive(Debug, Default)]
pub(crate) struct RecordedAnswers {
    /// What the recorded call has learned.
    pub(crate) own: Outside,
    /// What the request's other calls have learned, of lookups and state.
    pub(crate) others: Outside,
    /// The time if the record has none.
    pub(crate) now: u64,
    /// Values that the call has set itself.
    set: BTreeMap<String, Option<Vec<u8>>>,
    /// How many times and random bytes were answered.
    read: (usize, usize),
    /// What the record does not have.
    pub(crate) missing: BTreeSet<String>,
}

/// Where the running call's answers go or come from.
#[derive(Debug, Default)]
pub(crate) enum Source {
    /// Answers are neither noted nor recorded.
    #[default]
    Live,
    Noted(Box<Outside>),
    Recorded(Box<RecordedAnswers>),
}

thread_local! {
    static SOURCE: RefCell<Source> = const { RefCell::new(Source::Live) };
}

/// Restores what was there before when it drops.
struct Entered<'a>(&'a mut Source);

impl<'a> Entered<'a> {
    fn new(source: &'a mut Source) -> Self {
        SOURCE.with_borrow_mut(|current| std::mem::swap(current, source));
        Self(source)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        SOURCE.with_borrow_mut(|current| std::mem::swap(current, self.0));
    }
}

/// Runs a call that answers from, or notes into, `source`.
pub(crate) async fn during<F: Future>(source: &mut Source, call: F) -> F::Output {
    let mut call = pin!(call);
    std::future::poll_fn(|context| {
        let _entered = Entered::new(source);
        call.as_mut().poll(context)
    })
    .await
}

/// What the record answers, if the running call's answers come from one.
fn recorded<T>(answer: impl FnOnce(&mut RecordedAnswers) -> T) -> Option<T> {
    SOURCE.with_borrow_mut(|source| match source {
        Source::Recorded(answers) => Some(answer(answers)),
        _ => None,
    })
}

/// The answer to a lookup.
pub(crate) fn lookup(
    question: Question<'_>,
    live: impl FnOnce() -> Option<String>,
) -> Option<String> {
    if let Some(answer) = recorded(|answers| answers.lookup(question.text())) {
        return answer;
    }
    let answer = live();
    note(|outside| {
        let (question, size) = (question.text(), answer.as_ref().map_or(0, String::len));
        if outside.has_room(question.len() + size) {
            outside.lookups.insert(question, answer.clone());
        }
    });
    answer
}

/// The answer to a lookup of all labels or annotations, noted as a JSON object.
pub(crate) fn lookup_all(
    question: Question<'_>,
    live: impl FnOnce() -> BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let is_live = SOURCE.with_borrow(|source| matches!(source, Source::Live));
    if is_live {
        return live();
    }
    let answer = lookup(question, || serde_json::to_string(&live()).ok());
    let all = answer.and_then(|answer| serde_json::from_str(&answer).ok());
    all.unwrap_or_default()
}

/// The value of a key of the policy's state.
pub(crate) fn value(key: &str, live: impl FnOnce() -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    if let Some(answer) = recorded(|answers| answers.value(key)) {
        return answer;
    }
    let answer = live();
    note(|outside| {
        let size = answer.as_ref().map_or(0, Vec::len);
        let is_known = outside.state.contains_key(key) || outside.set.contains(key);
        if !is_known && outside.has_room(key.len() + size) {
            let value = answer.clone().map(Bytes);
            outside.state.insert(key.to_owned(), value);
        }
    });
    answer
}

/// The keys of the policy's state that have a prefix.
pub(crate) fn keys(prefix: &str, live: impl FnOnce() -> Vec<String>) -> Vec<String> {
    if let Some(answer) = recorded(|answers| answers.keys(prefix)) {
        return answer;
    }
    let answer = live();
    note(|outside| {
        let size: usize = answer.iter().map(String::len).sum();
        if !outside.keys.contains_key(prefix) && outside.has_room(prefix.len() + size) {
            let before = outside.before(prefix, &answer);
            outside.keys.insert(prefix.to_owned(), before);
        }
    });
    answer
}

/// Sets a value of a record's state: whether it was `expected`. `None` if the state is the
/// daemon's.
pub(crate) fn swap(key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> Option<bool> {
    recorded(|answers| answers.swap(key, expected, new))
}

/// Notes that a call has set a key of the state whose value was `expected`.
pub(crate) fn swapped(key: &str, expected: Option<&[u8]>) {
    note(|outside| {
        let size = expected.map_or(0, <[u8]>::len);
        let is_known = outside.state.contains_key(key) || outside.set.contains(key);
        if !is_known && outside.has_room(key.len() + size) {
            let value = expected.map(|value| Bytes(value.to_vec()));
            outside.state.insert(key.to_owned(), value);
        }
        if outside.has_room(key.len()) {
            outside.set.insert(key.to_owned());
        }
    });
}

/// The time in milliseconds since 1970.
pub(crate) fn unix_ms(live: impl FnOnce() -> u64) -> u64 {
    if let Some(time) = recorded(RecordedAnswers::unix_ms) {
        return time;
    }
    let time = live();
    note(|outside| {
        if outside.has_room(size_of::<u64>()) {
            outside.clock.push(time);
        }
    });
    time
}

/// Random bytes of a record; `None` if they come from the system.
pub(crate) fn recorded_random(count: usize) -> Option<Vec<u8>> {
    recorded(|answers| answers.random(count))
}

/// Notes random bytes that a guest got.
pub(crate) fn drew(bytes: &[u8]) {
    note(|outside| {
        if outside.has_room(bytes.len()) {
            outside.random.0.extend_from_slice(bytes);
        }
    });
}

/// Notes that an edit needed a grant and had it.
pub(crate) fn allowed(grant: Grant) {
    note(|outside| {
        outside.grants.insert(grant);
    });
}

fn note(take: impl FnOnce(&mut Outside)) {
    SOURCE.with_borrow_mut(|source| {
        if let Source::Noted(outside) = source {
            take(outside);
        }
    });
}

impl Outside {
    /// Bytes of what is noted.
    pub(crate) fn weight(&self) -> usize {
        self.bytes
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        let sum = self.bytes.saturating_add(bytes);
        if sum > MAX_BYTES {
            self.cut = true;
            return false;
        }
        self.bytes = sum;
        true
    }

    /// The keys before the call set any, of those that exist now.
    fn before(&self, prefix: &str, now: &[String]) -> Vec<String> {
        let had = |key: &String| matches!(self.state.get(key), Some(Some(_)));
        let kept = now
            .iter()
            .filter(|key| !self.set.contains(*key) || had(key));
        let removed = self
            .set
            .iter()
            .filter(|key| key.starts_with(prefix) && had(key) && !now.contains(key));
        let mut keys: Vec<String> = kept.chain(removed).cloned().collect();
        keys.sort();
        keys
    }

    /// Adds the lookups of another call and, of a call of the same policy, the state.
    #[cfg(feature = "compile")]
    pub(crate) fn join(&mut self, other: &Self, is_own: bool) {
        let new = |known: &BTreeMap<String, _>, key: &String| !known.contains_key(key);
        for (question, answer) in &other.lookups {
            if new(&self.lookups, question) {
                self.lookups.insert(question.clone(), answer.clone());
            }
        }
        if is_own {
            for (key, value) in &other.state {
                self.state
                    .entry(key.clone())
                    .or_insert_with(|| value.clone());
            }
        }
    }

    /// Whether nothing was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            lookups,
            state,
            keys,
            clock,
            random,
            cut,
            ..
        } = self;
        let (lookups, state) = (lookups.is_empty(), state.is_empty());
        lookups && state && keys.is_empty() && clock.is_empty() && random.is_empty() && !cut
    }
}

impl RecordedAnswers {
    fn lookup(&mut self, question: String) -> Option<String> {
        let Self { own, others, .. } = self;
        let known = own.lookups.get(&question);
        match known.or_else(|| others.lookups.get(&question)) {
            Some(answer) => answer.clone(),
            None => {
                self.missing.insert(question);
                None
            }
        }
    }

    fn value(&mut self, key: &str) -> Option<Vec<u8>> {
        if let Some(value) = self.set.get(key) {
            return value.clone();
        }
        let Self { own, others, .. } = self;
        match own.state.get(key).or_else(|| others.state.get(key)) {
            Some(value) => value.clone().map(|Bytes(bytes)| bytes),
            None => {
                self.missing.insert(format!("key {key} of the state"));
                None
            }
        }
    }

    fn keys(&mut self, prefix: &str) -> Vec<String> {
        let Some(known) = self.own.keys.get(prefix) else {
            self.missing
                .insert(format!("keys of the state that begin with {prefix:?}"));
            return Vec::new();
        };
        let mut keys: BTreeSet<&String> = known.iter().collect();
        for (key, value) in self.set.iter().filter(|(key, _)| key.starts_with(prefix)) {
            match value {
                Some(_) => keys.insert(key),
                None => keys.remove(key),
            };
        }
        keys.into_iter().cloned().collect()
    }

    fn swap(&mut self, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> bool {
        let is_known = |outside: &Outside| outside.state.contains_key(key);
        let is_known = self.set.contains_key(key) || is_known(&self.own) || is_known(&self.others);
        // A key that the record does not have is as the guest expects.
        let holds = !is_known || self.value(key).as_deref() == expected;
        if holds {
            self.set.insert(key.to_owned(), new.map(<[u8]>::to_vec));
        }
        holds
    }

    fn unix_ms(&mut self) -> u64 {
        let time = self.own.clock.get(self.read.0);
        self.read.0 += 1;
        let last = self.own.clock.last();
        time.or(last).copied().unwrap_or(self.now)
    }

    fn random(&mut self, count: usize) -> Vec<u8> {
        let from = self.read.1;
        self.read.1 = from.saturating_add(count);
        let rest = self.own.random.0.get(from..).unwrap_or_default();
        let mut bytes: Vec<u8> = rest.iter().copied().take(count).collect();
        if bytes.len() < count {
            self.missing.insert("random bytes".to_owned());
            bytes.resize(count, 0);
        }
        bytes
    }

    /// Answers of one recorded call, or else of the request's others.
    #[cfg(feature = "compile")]
    pub(crate) fn new(own: Outside, others: Outside, now: u64) -> Self {
        Self {
            own,
            others,
            now,
            ..Self::default()
        }
    }

    /// What the later calls of the request learn from the others, including what this call has set.
    #[cfg(feature = "compile")]
    pub(crate) fn into_others(self, missing: &mut BTreeSet<String>) -> Outside {
        missing.extend(self.missing);
        let mut others = self.others;
        for (key, value) in self.set {
            others.state.insert(key, value.map(Bytes));
        }
        others
    }
}

#[cfg(test)]
mod tests;
