//! Events for pods' owners, off the request path: queued, aggregated and rate-limited. They are
//! dropped rather than delay a request.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cni_types::text::plain_lines;
use hyper::{Request, StatusCode};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::call::{Caller, Failure, Patience};
use cnidaria_core::domain::pod::PodRef;
use cnidaria_core::ports::{Event, EventKind};

/// Queue length; fits a burst of pods with many networks.
const QUEUE: usize = 2048;
/// Recent Events that are remembered, to count repetitions instead of writing new ones.
const REMEMBERED: usize = 1024;
/// After this long, the same Event is a new one, as in client-go.
const AGGREGATION: Duration = Duration::from_secs(600);
/// How long to retry one Event.
const PATIENCE: Duration = Duration::from_secs(10);
/// A pod's burst of Events; each interval then allows one more, as in client-go.
const BURST: u32 = 25;
const INTERVAL: Duration = Duration::from_secs(300);
/// The API's limit of a message, in bytes.
const MAX_MESSAGE: usize = 1024;
/// The API's limit of object names.
const MAX_NAME: usize = 253;
/// The component that Multus reports, which dashboards and tests expect.
const COMPONENT: &str = "multus";

/// Queues Events without waiting.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<(PodRef, Event)>,
    lost: Arc<AtomicU64>,
}

impl Recorder {
    pub(crate) fn new() -> (Self, Writer) {
        let (queue, events) = mpsc::channel(QUEUE);
        let lost = Arc::default();
        let writer = Writer {
            events,
            memory: Memory::default(),
            names: 0,
        };
        (Self { queue, lost }, writer)
    }

    pub(crate) fn record(&self, pod: &PodRef, event: Event) {
        if self.queue.try_send((pod.clone(), event)).is_err() {
            let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
            // Logged at powers of two, so that a flood of Events does not flood the log.
            if lost.is_power_of_two() {
                tracing::warn!(
                    lost,
                    "dropping Events: the API server takes them too slowly"
                );
            }
        }
    }
}

/// Writes queued Events one by one; sleeps while the queue is empty.
#[derive(Debug)]
pub(crate) struct Writer {
    events: mpsc::Receiver<(PodRef, Event)>,
    memory: Memory,
    names: u64,
}

impl Writer {
    pub(crate) async fn run(&mut self, caller: &Caller) {
        while let Some((pod, event)) = self.events.recv().await {
            let write = self.memory.note(&pod, &event, Instant::now());
            let outcome = match &write {
                Write::Drop => continue,
                Write::Raise { name, count } => {
                    let raised = raise(caller, &pod, name, *count).await;
                    match raised {
                        // The Event was deleted in the meantime: create it again.
                        Err(failure) if failure.code() == Some(StatusCode::NOT_FOUND) => {
                            self.create(caller, &pod, &event).await
                        }
                        raised => raised,
                    }
                }
                Write::Create => self.create(caller, &pod, &event).await,
            };
            if let Err(failure) = outcome {
                tracing::debug!(%pod, reason = event.reason, %failure, "cannot write an Event; it is lost");
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the times of Events")]
    async fn create(
        &mut self,
        caller: &Caller,
        pod: &PodRef,
        event: &Event,
    ) -> Result<(), Failure> {
        let now = Timestamp::now();
        self.names += 1;
        let name = name(&pod.name, now.as_nanosecond() as u64 ^ self.names);
        let body = object(pod, event, &name, now);
        let path = format!("/api/v1/namespaces/{}/events", pod.namespace);
        send(caller, "POST", &path, "application/json", &body).await?;
        self.memory.created(pod, event, name);
        Ok(())
    }
}

/// An Event's name as in client-go, cut to leave room for the suffix.
fn name(pod: &str, unique: u64) -> String {
    let suffix = format!(".{unique:016x}");
    let room = MAX_NAME - suffix.len();
    let begin = pod.get(..room).unwrap_or(pod);
    format!("{}{suffix}", begin.trim_end_matches(['.', '-']))
}

#[expect(clippy::disallowed_methods, reason = "the times of Events")]
async fn raise(caller: &Caller, pod: &PodRef, name: &str, count: u32) -> Result<(), Failure> {
    let path = format!("/api/v1/namespaces/{}/events/{name}", pod.namespace);
    let body = json!({"count": count, "lastTimestamp": seconds(Timestamp::now())});
    send(
        caller,
        "PATCH",
        &path,
        "application/merge-patch+json",
        &body,
    )
    .await
}

async fn send(
    caller: &Caller,
    method: &str,
    path: &str,
    content_type: &str,
    body: &Value,
) -> Result<(), Failure> {
    let mut patience = Patience::until(Instant::now() + PATIENCE);
    let body = Bytes::from(body.to_string());
    loop {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("accept", "application/json")
            .body(body.clone())
            .map_err(|error| Failure::Unreachable(error.to_string()))?;
        let failure = match caller.send(request, patience.deadline).await {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        // It was created by an attempt whose answer was lost.
        if method == "POST" && failure.code() == Some(StatusCode::CONFLICT) {
            return Ok(());
        }
        match patience.next(&failure).filter(|_| failure.is_transient()) {
            Some(at) => tokio::time::sleep_until(at).await,
            None => return Err(failure),
        }
    }
}

fn object(pod: &PodRef, event: &Event, name: &str, now: Timestamp) -> Value {
    let mut message = plain_lines(&event.message).into_owned();
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE)
            .rev()
            .find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or_default());
    }
    let mut involved = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": pod.namespace,
        "name": pod.name,
    });
    if let (false, Some(members)) = (pod.uid.is_empty(), involved.as_object_mut()) {
        members.insert("uid".to_owned(), json!(pod.uid));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": pod.namespace},
        "involvedObject": involved,
        "type": match event.kind {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        },
        "reason": event.reason,
        "message": message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
        "firstTimestamp": seconds(now),
        "lastTimestamp": seconds(now),
        "count": 1,
    })
}

/// The API's Event times have whole seconds.
pub(crate) fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

/// What to do with an Event.
#[derive(Debug, PartialEq, Eq)]
enum Write {
    Create,
    Raise {
        name: String,
        count: u32,
    },
    /// The pod exceeded its rate limit.
    Drop,
}

type Key = (PodRef, &'static str, String);

/// Recently written Events.
#[derive(Debug, Default)]
struct Memory {
    written: HashMap<Key, Written>,
    order: VecDeque<Key>,
    pods: HashMap<PodRef, Allowance>,
}

#[derive(Debug)]
struct Written {
    /// Empty until the Event is created.
    name: String,
    count: u32,
    last: Instant,
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Memory {
    fn note(&mut self, pod: &PodRef, event: &Event, now: Instant) -> Write {
        if !self.allow(pod, now) {
            return Write::Drop;
        }
        let key = (pod.clone(), event.reason, event.message.clone());
        if let Some(written) = self.written.get_mut(&key)
            && now.duration_since(written.last) < AGGREGATION
            && !written.name.is_empty()
        {
            written.count += 1;
            written.last = now;
            return Write::Raise {
                name: written.name.clone(),
                count: written.count,
            };
        }
        let fresh = Written {
            name: String::new(),
            count: 1,
            last: now,
        };
        if self.written.insert(key.clone(), fresh).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.written.remove(&oldest);
            }
        }
        Write::Create
    }

    fn created(&mut self, pod: &PodRef, event: &Event, name: String) {
        let key = (pod.clone(), event.reason, event.message.clone());
        if let Some(written) = self.written.get_mut(&key) {
            written.name = name;
            written.count = 1;
        }
    }

    fn allow(&mut self, pod: &PodRef, now: Instant) -> bool {
        if self.pods.len() >= REMEMBERED && !self.pods.contains_key(pod) {
            // A pod with a full allowance again need not be remembered.
            self.pods
                .retain(|_, allowance| now.duration_since(allowance.since) < INTERVAL * BURST);
            if self.pods.len() >= REMEMBERED {
                self.pods.clear();
            }
        }
        let allowance = self.pods.entry(pod.clone()).or_insert(Allowance {
            left: BURST,
            since: now,
        });
        let earned = now.duration_since(allowance.since).as_secs() / INTERVAL.as_secs();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(BURST);
            allowance.left = allowance.left.saturating_add(earned).min(BURST);
            allowance.since = now;
        }
        match allowance.left.checked_sub(1) {
            Some(left) => {
                allowance.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> PodRef {
        PodRef {
            namespace: "n".into(),
            name: name.into(),
            uid: "u".into(),
        }
    }

    fn event(message: &str) -> Event {
        Event {
            kind: EventKind::Normal,
            reason: "AddedInterface",
            message: message.into(),
        }
    }

    #[test]
    fn an_event_is_the_one_that_multus_writes() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let written = object(
            &pod("a"),
            &event("Add eth0 [10.1.0.2/16] from x"),
            "a.1",
            now,
        );
        let expected = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": "a.1", "namespace": "n"},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "n", "name": "a", "uid": "u"},
            "type": "Normal", "reason": "AddedInterface", "message": "Add eth0 [10.1.0.2/16] from x",
            "source": {"component": "multus"}, "reportingComponent": "multus", "reportingInstance": "",
            "firstTimestamp": "2023-11-14T22:13:20Z", "lastTimestamp": "2023-11-14T22:13:20Z", "count": 1,
        });
        assert_eq!(written, expected);
    }

    #[test]
    fn event_name_is_valid_for_longest_pod_name() {
        assert_eq!(name("a", 255), "a.00000000000000ff");
        let longest = format!("{}.{}", "x".repeat(235), "y".repeat(17));
        let name = name(&longest, 1);
        assert_eq!(name, format!("{}.0000000000000001", "x".repeat(235)));
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let now = Timestamp::from_second(0).unwrap();
        let written = object(&pod("a"), &event(&"ä".repeat(600)), "a.1", now);
        assert_eq!(written["message"].as_str().unwrap().len(), 1024);
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_event_raises_its_count() {
        let mut memory = Memory::default();
        let now = Instant::now();
        assert_eq!(memory.note(&pod("a"), &event("x"), now), Write::Create);
        memory.created(&pod("a"), &event("x"), "a.1".into());
        let raised = memory.note(&pod("a"), &event("x"), now + Duration::from_secs(1));
        assert_eq!(
            raised,
            Write::Raise {
                name: "a.1".into(),
                count: 2
            }
        );
        assert_eq!(memory.note(&pod("a"), &event("y"), now), Write::Create);
        let later = now + AGGREGATION * 2;
        assert_eq!(memory.note(&pod("a"), &event("x"), later), Write::Create);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_cannot_flood_and_earns_its_events_back() {
        let mut memory = Memory::default();
        let now = Instant::now();
        for number in 0..BURST {
            let noted = memory.note(&pod("a"), &event(&number.to_string()), now);
            assert_eq!(noted, Write::Create);
        }
        assert_eq!(memory.note(&pod("a"), &event("more"), now), Write::Drop);
        assert_eq!(memory.note(&pod("b"), &event("other"), now), Write::Create);
        let later = now + INTERVAL;
        assert_eq!(
            memory.note(&pod("a"), &event("later"), later),
            Write::Create
        );
        assert_eq!(
            memory.note(&pod("a"), &event("too soon"), later),
            Write::Drop
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        let now = Instant::now();
        for number in 0..REMEMBERED * 3 {
            memory.note(&pod(&number.to_string()), &event("x"), now);
        }
        assert!(memory.written.len() <= REMEMBERED && memory.pods.len() <= REMEMBERED);
        assert_eq!(memory.order.len(), memory.written.len());
    }
}
