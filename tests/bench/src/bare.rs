//! A server that does only what every CNI server must: it reads a request from the socket, executes
//! one delegate with it, and returns the output. It has one thread and the daemon's libraries, so
//! the difference is the daemon's own work.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use libcni::exec::{self, Invocation, Limits};
use tokio::net::UnixListener;

use crate::error::Error;

/// Serves until killed.
pub(crate) fn serve(socket: &Path, delegate: &Path) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::file("the runtime"))?;
    runtime.block_on(async {
        let listener = UnixListener::bind(socket).map_err(Error::file(socket))?;
        let delegate = Arc::new(delegate.to_owned());
        loop {
            let (stream, _) = listener.accept().await.map_err(Error::file(socket))?;
            let delegate = Arc::clone(&delegate);
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(
                TokioIo::new(stream),
                hyper::service::service_fn(move |request| answer(Arc::clone(&delegate), request)),
            );
            tokio::spawn(connection);
        }
    })
}

async fn answer(
    delegate: Arc<PathBuf>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let executed = tokio::spawn(async move { execute(&delegate, request).await });
    let executed = executed
        .await
        .unwrap_or_else(|error| Err(error.to_string()));
    let (status, body) = match executed {
        Ok(printed) => (StatusCode::OK, printed),
        Err(reason) => (StatusCode::BAD_REQUEST, reason.into_bytes()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    Ok(response)
}

async fn execute(delegate: &Path, request: Request<Incoming>) -> Result<Vec<u8>, String> {
    let body = request.into_body().collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    let request = shim_api::Request::parse(&body).map_err(|error| error.to_string())?;
    let env: Vec<(OsString, OsString)> = request
        .env
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let invocation = Invocation {
        path: delegate,
        env: &env,
        stdin: &request.config,
        root: None,
        helper: None,
        cgroup: None,
    };
    match exec::run(&invocation, &Limits::default()).await {
        Ok(output) => Ok(output.stdout),
        Err(error) => Err(error.to_string()),
    }
}
