//! Traces of requests, on fakes of every port except the delegates.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use cnidaria_core::domain::trace_parent::TraceParent;
use daemon::trace::{Bounds, Collector, Ring};
use shim_api::trace::{Span, Trace};
use support::{World, body, gc_body};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Traces what this test's thread does.
fn traced(requests: usize, bytes: usize) -> (Arc<Ring>, DefaultGuard) {
    let requests = NonZeroUsize::new(requests).unwrap();
    let ring = Arc::new(Ring::new(Bounds { requests, bytes }));
    let collector = Collector::new(Arc::clone(&ring));
    let subscriber = tracing_subscriber::registry().with(collector);
    (ring, tracing::subscriber::set_default(subscriber))
}

/// A request with a context.
fn body_within(command: &str, pod: &str, parent: &str) -> Vec<u8> {
    let mut request = shim_api::Request::parse(&body(command, pod)).unwrap();
    request.env.insert("TRACEPARENT".into(), parent.into());
    request.to_json()
}

/// A directory with a plugin that writes its context into a file named after its network.
fn plugins() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let script = format!(
        "#!/bin/sh\nconf=$(cat)\nname=$(echo \"$conf\" | sed 's/.*\"name\":\"\\([a-z]*\\)\".*/\\1/')\n\
         echo \"${{TRACEPARENT-none}}\" >{0}/$name.$CNI_COMMAND\n\
         echo \"${{TRACESTATE-none}}\" >{0}/$name.$CNI_COMMAND.state\n\
         echo '{{\"cniVersion\":\"1.0.0\"}}'\n",
        dir.path().display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

/// The context that a delegate got.
fn given(dir: &Path, network: &str, command: &str) -> TraceParent {
    let text = fs::read_to_string(dir.join(format!("{network}.{command}"))).unwrap();
    text.trim().parse().unwrap()
}

/// The tracing systems' entries that a delegate of the default network got on ADD.
fn state_given(dir: &Path) -> String {
    let text = fs::read_to_string(dir.join("default.ADD.state")).unwrap();
    text.trim_end().to_owned()
}

fn by_id<'a>(trace: &'a Trace, id: &str) -> &'a Span {
    trace.spans.iter().find(|span| span.id == id).unwrap()
}

fn named<'a>(trace: &'a Trace, name: &str) -> Vec<&'a Span> {
    trace
        .spans
        .iter()
        .filter(|span| span.name == name)
        .collect()
}

#[tokio::test]
async fn delegates_continue_the_runtimes_trace() {
    let (ring, _traced) = traced(8, 1 << 20);
    let (world, dir) = (World::new(), plugins());
    world.pod("a", "one,two");
    let pipeline = world.pipeline_executing(dir.path());
    let add = body_within("ADD", "a", PARENT);
    pipeline.handle(&add).await.unwrap();
    let list = ring.list();
    let [trace] = list.traces.as_slice() else {
        panic!("{list:?}");
    };
    assert_eq!(trace.id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(trace.parent_span_id.as_deref(), Some("00f067aa0ba902b7"));
    let request = trace.request().unwrap();
    let expected: BTreeMap<_, _> = [
        ("container", "cid-a"),
        ("interface", "eth0"),
        ("outcome", "success"),
        ("pod", "default/a"),
        ("verb", "ADD"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    assert_eq!(request.attributes, expected);
    for (network, interface) in [("default", "eth0"), ("one", "net1"), ("two", "net2")] {
        let context = given(dir.path(), network, "ADD");
        assert_eq!(context.trace.to_string(), trace.id);
        assert!(context.is_sampled);
        let delegate = by_id(trace, &context.span.to_string());
        assert_eq!(delegate.name, "delegate");
        assert_eq!(delegate.attributes["plugin"], "t");
        // Attached at once, but each below its own attachment.
        let attach = by_id(trace, delegate.parent_id.as_ref().unwrap());
        assert_eq!(attach.name, "attach");
        assert_eq!(attach.attributes["interface"], interface);
    }
    assert!(trace.spans.iter().all(|span| span.duration_nanos.is_some()));
}

#[tokio::test]
async fn each_stage_of_a_verb_has_a_span() {
    let (ring, _traced) = traced(8, 1 << 20);
    let (world, dir) = (World::new(), plugins());
    world.pod("a", "one");
    let pipeline = world.pipeline_executing(dir.path());
    let mut status = shim_api::Request::parse(&gc_body(None)).unwrap();
    status.env.insert("CNI_COMMAND".into(), "STATUS".into());
    for request in [
        body("ADD", "a"),
        body("CHECK", "a"),
        body("DEL", "a"),
        gc_body(None),
        status.to_json(),
    ] {
        pipeline.handle(&request).await.unwrap();
    }
    let list = ring.list();
    let stages: Vec<Vec<&str>> = list
        .traces
        .iter()
        .map(|trace| trace.spans.iter().map(|span| span.name.as_str()).collect())
        .collect();
    let add = [
        "request",
        "turn",
        "readiness",
        "identity",
        "select",
        "resolve",
        "before-add",
        "namespace",
        "ledger",
        "attach",
        "slot",
        "delegate",
        "after-add",
        "attach",
        "slot",
        "delegate",
        "after-add",
        "finalize",
        "results",
        "network-status",
    ];
    assert_eq!(stages[0], add);
    let check = [
        "request", "turn", "ledger", "check", "slot", "delegate", "check", "slot", "delegate",
    ];
    assert_eq!(stages[1], check);
    let del = [
        "request", "turn", "undo", "detach", "slot", "delegate", "detach", "slot", "delegate",
        "del", "del",
    ];
    assert_eq!(stages[2], del);
    for (verb, stage) in [(3, "collect"), (4, "delegates")] {
        assert!(stages[verb].contains(&stage), "{stages:?}");
    }
}

#[tokio::test]
async fn malformed_contexts_are_ignored() {
    let (ring, _traced) = traced(8, 1 << 20);
    let (world, dir) = (World::new(), plugins());
    let pipeline = world.pipeline_executing(dir.path());
    let zeros = "00-00000000000000000000000000000000-0000000000000000-01";
    for (at, parent) in ["", "x", zeros, &PARENT[..50], "\u{0}"]
        .into_iter()
        .enumerate()
    {
        let pod = format!("p{at}");
        world.pod(&pod, "");
        pipeline
            .handle(&body_within("ADD", &pod, parent))
            .await
            .unwrap();
        let trace = ring.list().traces.pop().unwrap();
        assert_eq!(trace.parent_span_id, None);
        // The daemon's own trace.
        let context = given(dir.path(), "default", "ADD");
        assert_eq!(context.trace.to_string(), trace.id);
        assert!(!context.is_sampled, "it is not exported");
    }
}

#[tokio::test]
async fn delegates_get_the_runtimes_trace_state() {
    let (_ring, _traced) = traced(8, 1 << 20);
    let (world, dir) = (World::new(), plugins());
    let pipeline = world.pipeline_executing(dir.path());
    for (at, (parent, state, expected)) in [
        (PARENT, "congo=t61, rojo=00f0", "congo=t61,rojo=00f0"),
        (PARENT, "not a state", "none"),
        (PARENT, "", "none"),
        // It says nothing about the daemon's own trace.
        ("", "congo=t61", "none"),
        ("x", "congo=t61", "none"),
    ]
    .into_iter()
    .enumerate()
    {
        let pod = format!("p{at}");
        world.pod(&pod, "");
        let body = body_within("ADD", &pod, parent);
        let mut request = shim_api::Request::parse(&body).unwrap();
        request.env.insert("TRACESTATE".into(), state.into());
        pipeline.handle(&request.to_json()).await.unwrap();
        assert_eq!(state_given(dir.path()), expected, "{parent} {state}");
    }
}

#[tokio::test]
async fn a_trace_state_of_the_greatest_length_is_kept() {
    let (_ring, _traced) = traced(8, 1 << 20);
    let (world, dir) = (World::new(), plugins());
    world.pod("a", "");
    let pipeline = world.pipeline_executing(dir.path());
    let state = format!("a={},b={}", "x".repeat(253), "y".repeat(254));
    assert_eq!(state.len(), 512);
    let body = body_within("ADD", "a", PARENT);
    let mut request = shim_api::Request::parse(&body).unwrap();
    request.env.insert("TRACESTATE".into(), state.clone());
    pipeline.handle(&request.to_json()).await.unwrap();
    assert_eq!(state_given(dir.path()), state);
}

#[tokio::test]
async fn without_traces_delegates_get_no_context() {
    let (world, dir) = (World::new(), plugins());
    world.pod("a", "");
    let pipeline = world.pipeline_executing(dir.path());
    pipeline
        .handle(&body_within("ADD", "a", PARENT))
        .await
        .unwrap();
    let text = fs::read_to_string(dir.path().join("default.ADD")).unwrap();
    assert_eq!(text, "none\n");
}

#[tokio::test]
async fn a_failure_is_in_the_span_that_failed() {
    let (ring, _traced) = traced(8, 1 << 20);
    let world = World::new();
    world.pod("a", "one,two");
    world.fail("add one");
    world
        .pipeline()
        .handle(&body("ADD", "a"))
        .await
        .unwrap_err();
    let trace = ring.list().traces.pop().unwrap();
    let attached = named(&trace, "attach");
    assert_eq!(attached[0].error, None);
    assert!(
        attached[1]
            .error
            .as_ref()
            .unwrap()
            .contains("add one told to fail")
    );
    let request = trace.request().unwrap();
    assert_eq!(request.attributes["outcome"], "failure");
    assert!(request.error.as_ref().unwrap().contains("add one"));
    assert_eq!(named(&trace, "undo").len(), 1);
    // Rejected before its pod is known.
    let unknown = body("NOTHING", "a");
    world.pipeline().handle(&unknown).await.unwrap_err();
    let trace = ring.list().traces.pop().unwrap();
    assert_eq!(trace.request().unwrap().attributes["outcome"], "failure");
}

#[tokio::test]
async fn a_request_is_listed_while_it_runs() {
    let (ring, _traced) = traced(8, 1 << 20);
    let world = World::new();
    world.pod("a", "one");
    world.fail("hang one");
    let pipeline = world.pipeline();
    let add = body("ADD", "a");
    let hangs = async {
        while !world.log.lock().unwrap().contains(&"add one".to_owned()) {
            tokio::task::yield_now().await;
        }
        ring.list().traces.pop().unwrap()
    };
    let trace = tokio::select! {
        answer = pipeline.handle(&add) => panic!("{answer:?}"),
        trace = hangs => trace,
    };
    assert_eq!(trace.request().unwrap().duration_nanos, None);
    let attached = named(&trace, "attach");
    assert!(attached[0].duration_nanos.is_some());
    assert_eq!(attached[1].duration_nanos, None);
}

#[tokio::test]
async fn the_oldest_requests_make_room() {
    for (requests, bytes, kept) in [(3, 1 << 20, 3), (100, 4096, 1), (100, 1, 0)] {
        let (ring, _traced) = traced(requests, bytes);
        let world = World::new();
        let pipeline = world.pipeline();
        for at in 0..10 {
            let pod = format!("p{at}");
            world.pod(&pod, "one");
            pipeline.handle(&body("ADD", &pod)).await.unwrap();
        }
        let list = ring.list();
        let pods: Vec<_> = list
            .traces
            .iter()
            .map(|trace| trace.request().unwrap().attributes["pod"].clone())
            .collect();
        assert!(
            pods.len() >= kept && pods.len() <= requests.min(4),
            "{pods:?}"
        );
        if kept > 0 {
            assert_eq!(pods.last().unwrap(), "default/p9");
        }
    }
}

#[tokio::test]
async fn a_hostile_request_stays_within_bounds() {
    let (ring, _traced) = traced(8, 1 << 20);
    let world = World::new();
    let networks = vec!["one"; 60].join(",");
    world.pod("a", &networks);
    let pipeline = world.pipeline();
    let long = format!("{PARENT}-{}", "x".repeat(100_000));
    let _ = pipeline.handle(&body_within("ADD", "a", &long)).await;
    let mut request = shim_api::Request::parse(&body("ADD", "b")).unwrap();
    let args = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={}",
        "x".repeat(1 << 20)
    );
    request.env.insert("CNI_ARGS".into(), args);
    let _ = pipeline.handle(&request.to_json()).await;
    let list = ring.list();
    let bytes = serde_json::to_vec(&list).unwrap().len();
    assert!(bytes < 512 << 10, "{bytes}");
    assert!(list.traces.iter().all(|trace| trace.spans.len() <= 512));
}
