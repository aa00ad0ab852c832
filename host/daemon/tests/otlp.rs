//! Export of traces, to a collector of the test.

#![cfg(feature = "otlp")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod support;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use config::trace::{Endpoint, TraceConfig};
use daemon::trace::{self, Begun, Traces};
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use support::{World, body};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// A collector that answers with `status`, and what it receives.
async fn collector(
    status: StatusCode,
) -> (String, mpsc::UnboundedReceiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (received, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let received = received.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let received = received.clone();
                async move {
                    assert_eq!(request.uri().path(), "/v1/traces");
                    let kind = request.headers()["content-type"].clone();
                    assert_eq!(kind, "application/x-protobuf");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let _ = received.send(ExportTraceServiceRequest::decode(body).unwrap());
                    let mut response = Response::new(Full::new(Bytes::new()));
                    *response.status_mut() = status;
                    Ok::<_, Infallible>(response)
                }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    (endpoint, requests)
}

/// Traces what this test's thread does.
fn exporting(endpoint: &str, queue: usize) -> (Traces, BoxFuture<'static, ()>, DefaultGuard) {
    let config = TraceConfig {
        otlp_endpoint: Some(Endpoint::try_from(endpoint.to_owned()).unwrap()),
        otlp_queue: queue.try_into().unwrap(),
        ..TraceConfig::default()
    };
    let Begun {
        collector,
        traces,
        exporting,
        problem,
    } = trace::begin(&config, "node-7").unwrap();
    assert_eq!(problem, None);
    let subscriber = tracing_subscriber::registry().with(collector);
    let guard = tracing::subscriber::set_default(subscriber);
    (traces, exporting.unwrap(), guard)
}

fn body_within(command: &str, pod: &str, parent: &str) -> Vec<u8> {
    let mut request = shim_api::Request::parse(&body(command, pod)).unwrap();
    request.env.insert("TRACEPARENT".into(), parent.into());
    request.to_json()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|found| found.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn counts(traces: &Traces) -> Vec<u64> {
    let counts = traces.exported.as_ref().unwrap().now();
    counts.iter().map(|(_, count)| *count).collect()
}

#[tokio::test]
async fn a_collector_gets_the_spans_of_requests() {
    let (endpoint, mut requests) = collector(StatusCode::OK).await;
    let (traces, exporting, _traced) = exporting(&endpoint, 16);
    let _exporting = tokio::spawn(exporting);
    let world = World::new();
    world.pod("a", "one");
    world.pod("b", "");
    world.fail("del default");
    let pipeline = world.pipeline();
    pipeline
        .handle(&body_within("ADD", "b", NOT_SAMPLED))
        .await
        .unwrap();
    let mut request = shim_api::Request::parse(&body_within("ADD", "a", PARENT)).unwrap();
    request.env.insert("TRACESTATE".into(), "congo=t61".into());
    pipeline.handle(&request.to_json()).await.unwrap();
    let received = requests.recv().await.unwrap();
    let resource = &received.resource_spans[0];
    let about = &resource.resource.as_ref().unwrap().attributes;
    assert_eq!(text(about, "service.name"), "cnidaria");
    assert_eq!(text(about, "k8s.node.name"), "node-7");
    let spans: Vec<Span> = received
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| scope.spans.clone())
        .collect();
    // The request that its runtime does not sample is left out.
    assert!(
        spans
            .iter()
            .all(|span| hex(&span.trace_id) == PARENT[3..35])
    );
    assert!(spans.iter().all(|span| span.trace_state == "congo=t61"));
    let root = spans.iter().find(|span| span.name == "ADD").unwrap();
    assert_eq!(hex(&root.parent_span_id), PARENT[36..52]);
    assert_eq!(text(&root.attributes, "k8s.pod.name"), "a");
    assert_eq!(text(&root.attributes, "cni.outcome"), "success");
    let attached: Vec<_> = spans.iter().filter(|span| span.name == "attach").collect();
    assert_eq!(attached.len(), 2);
    for span in attached {
        assert_eq!(span.parent_span_id, root.span_id);
        assert!(span.start_time_unix_nano >= root.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano);
    }
    // A failure has a status with its reason.
    pipeline
        .handle(&body_within("DEL", "a", PARENT))
        .await
        .unwrap_err();
    let received = requests.recv().await.unwrap();
    let spans = &received.resource_spans[0].scope_spans[0].spans;
    let root = spans.iter().find(|span| span.name == "DEL").unwrap();
    assert!(
        root.status
            .as_ref()
            .unwrap()
            .message
            .contains("del default")
    );
    while counts(&traces) != [2, 0, 0] {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stuck_collector_delays_nothing() {
    // Connections are never accepted, let alone answered.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (traces, exporting, _traced) = exporting(&endpoint, 4);
    let _exporting = tokio::spawn(exporting);
    let world = World::new();
    let pipeline = world.pipeline();
    for at in 0..100 {
        let pod = format!("p{at}");
        world.pod(&pod, "");
        pipeline.handle(&body("ADD", &pod)).await.unwrap();
    }
    let [sent, failed, dropped] = counts(&traces)[..] else {
        panic!("three outcomes");
    };
    assert_eq!((sent, failed), (0, 0));
    assert!(dropped > 0 && dropped <= 96, "{dropped}");
}

#[tokio::test]
async fn refused_exports_are_counted() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let (unwilling, _requests) = collector(StatusCode::SERVICE_UNAVAILABLE).await;
    for endpoint in [gone, unwilling] {
        let (traces, exporting, _traced) = exporting(&endpoint, 4);
        let exporting = tokio::spawn(exporting);
        let world = World::new();
        world.pod("a", "");
        world.pipeline().handle(&body("ADD", "a")).await.unwrap();
        while counts(&traces)[1] != 1 {
            tokio::task::yield_now().await;
        }
        exporting.abort();
    }
}

#[tokio::test]
async fn what_is_exported_can_be_listed() {
    let (traces, _exporting, _traced) = exporting("http://127.0.0.1:1", 4);
    let world = World::new();
    world.pod("a", "");
    world.pipeline().handle(&body("ADD", "a")).await.unwrap();
    let ring = Arc::clone(&traces.ring);
    assert_eq!(ring.list().traces.len(), 1);
}
