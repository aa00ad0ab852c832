//! The server side of gRPC, for unary calls.

use std::sync::{Arc, Mutex};

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tokio::net::{UnixListener, UnixStream};

use crate::messages::{
    GetPodResourcesRequest, GetPodResourcesResponse, ListPodResourcesResponse,
    ListPodSandboxResponse, PodResources, PodSandbox,
};
use crate::{Fault, Get, State, lock};

const FRAME_HEAD: usize = 5;
const UNKNOWN: u32 = 2;
const UNIMPLEMENTED: u32 = 12;
/// A field number that no message has.
const STRANGE_MEMBER: u32 = 999;

/// A gRPC error: code and message.
type Refusal = (u32, String);

pub(crate) async fn run(listener: UnixListener, state: Arc<Mutex<State>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&state)));
    }
}

async fn connection(stream: UnixStream, state: Arc<Mutex<State>>) {
    let Ok(mut connection) = server::handshake(stream).await else {
        return;
    };
    let mut calls = tokio::task::JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        calls.spawn(call(request, respond, Arc::clone(&state)));
    }
}

async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    state: Arc<Mutex<State>>,
) {
    let method = request.uri().path().to_owned();
    let is_grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind == "application/grpc");
    let message = read(request.into_body()).await;
    let (fault, answer) = {
        let mut state = lock(&state);
        let short = method.rsplit('/').next().unwrap_or_default().to_owned();
        state.calls.push(short);
        (fault(&mut state), answer(&state, &method, &message))
    };
    if !is_grpc {
        let _ = respond.send_response(head(415), true);
        return;
    }
    // The only possible error is a client that has gone.
    let _ = match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Refuse { code, message, .. } => refuse(&mut respond, (code, message)),
        Fault::Bytes(bytes) => send(&mut respond, bytes.into(), true),
        Fault::NoStatus => send(&mut respond, framed(&[]), false),
        Fault::None | Fault::Inflate(_) => match answer {
            Ok(mut message) => {
                if let Fault::Inflate(bytes) = fault {
                    let waste = vec![0; bytes];
                    prost::encoding::bytes::encode(STRANGE_MEMBER, &waste, &mut message);
                }
                send(&mut respond, framed(&message), true)
            }
            Err(refusal) => refuse(&mut respond, refusal),
        },
    };
}

/// How this call fails.
fn fault(state: &mut State) -> Fault {
    let fault = state.fault.clone();
    if let Fault::Refuse { times, .. } = &mut state.fault {
        match *times {
            0 => return Fault::None,
            _ => *times -= 1,
        }
    }
    fault
}

async fn read(mut body: RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    bytes.get(FRAME_HEAD..).unwrap_or_default().to_vec()
}

fn answer(state: &State, method: &str, message: &[u8]) -> Result<Vec<u8>, Refusal> {
    match (method, state.get) {
        ("/v1.PodResourcesLister/List", _) => {
            let answer = ListPodResourcesResponse {
                pod_resources: state.pods.clone(),
            };
            Ok(answer.encode_to_vec())
        }
        ("/runtime.v1.RuntimeService/ListPodSandbox", _) => {
            let ids = state.sandboxes.iter().enumerate();
            let items = ids.map(|(number, id)| PodSandbox {
                id: id.clone(),
                // Both states are states of a sandbox.
                state: i32::from(number % 2 == 1),
                created_at: 1,
            });
            let answer = ListPodSandboxResponse {
                items: items.collect(),
            };
            Ok(answer.encode_to_vec())
        }
        ("/v1.PodResourcesLister/Get", Get::Served) => {
            let wanted = GetPodResourcesRequest::decode(message)
                .map_err(|error| (UNKNOWN, error.to_string()))?;
            let answer = GetPodResourcesResponse {
                pod_resources: Some(find(state, &wanted)?.clone()),
            };
            Ok(answer.encode_to_vec())
        }
        ("/v1.PodResourcesLister/Get", Get::Disabled) => {
            Err((UNKNOWN, "PodResources API Get method disabled".to_owned()))
        }
        (other, _) => Err((UNIMPLEMENTED, format!("unknown method {other}"))),
    }
}

fn find<'s>(
    state: &'s State,
    wanted: &GetPodResourcesRequest,
) -> Result<&'s PodResources, Refusal> {
    let (name, namespace) = (&wanted.pod_name, &wanted.pod_namespace);
    let mut pods = state.pods.iter();
    pods.find(|pod| pod.name == *name && pod.namespace == *namespace)
        .ok_or_else(|| {
            (
                UNKNOWN,
                format!("pod {name} in namespace {namespace} not found"),
            )
        })
}

fn head(status: u16) -> Response<()> {
    Response::builder()
        .status(status)
        .header("content-type", "application/grpc")
        .body(())
        .expect("the parts are valid")
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(FRAME_HEAD + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a test has no such message"));
    frame.put_slice(message);
    frame.freeze()
}

fn send(respond: &mut SendResponse<Bytes>, bytes: Bytes, status: bool) -> Result<(), h2::Error> {
    let mut body = respond.send_response(head(200), false)?;
    body.send_data(bytes, !status)?;
    if status {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        body.send_trailers(trailers)?;
    }
    Ok(())
}

/// Sends the status in the only headers (a trailers-only response).
fn refuse(respond: &mut SendResponse<Bytes>, (code, message): Refusal) -> Result<(), h2::Error> {
    let mut response = head(200);
    let headers = response.headers_mut();
    headers.insert("grpc-status", code.into());
    headers.insert(
        "grpc-message",
        HeaderValue::from_str(&message).unwrap_or(HeaderValue::from_static("")),
    );
    respond.send_response(response, true).map(drop)
}
