//! The connection to the API server: credentials, TLS and a pool of HTTP connections as one stack.
//! When credentials change it is replaced in place, without clients noticing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use kube::client::middleware::{BaseUri, BaseUriLayer};
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceExt};

use super::access::{Access, Credentials, Error};
use super::pace;
use super::peer::Peer;
use super::trouble::Trouble;

/// Connect timeout. The API server is near, or down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle time before a TCP keepalive probe.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Idle connections are kept for the rest of a burst only.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS: usize = pace::FEW;
/// Minimum interval between reloads of rejected credentials.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The user agent, which identifies the daemon in audit logs and flow control.
const WHO: HeaderValue =
    HeaderValue::from_static(concat!("cnidaria-daemon/", env!("CARGO_PKG_VERSION")));

type Http = BaseUri<HttpClient<HttpsConnector<HttpConnector>, Body>>;

/// What sends requests, with one set of credentials.
struct Stack {
    peer: Peer,
    http: Http,
    authorization: Option<HeaderValue>,
    /// When to reload the credentials.
    until: Option<Instant>,
}

impl Stack {
    /// Reuses the connections of `before` if their peer is the same.
    fn new(credentials: Credentials, before: Option<&Self>) -> Result<Self, Error> {
        let Credentials {
            peer,
            authorization,
            fresh,
        } = credentials;
        let http = match before.filter(|before| before.peer == peer) {
            Some(before) => before.http.clone(),
            None => http(&peer)?,
        };
        Ok(Self {
            peer,
            http,
            authorization,
            until: fresh.map(|fresh| Instant::now() + fresh),
        })
    }

    fn is_fresh(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }

    async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        Ok(self.http.clone().oneshot(request).await?)
    }
}

/// The connection to one API server.
#[derive(Clone)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    /// Set when the server begins to serve a watch.
    watching: Option<Arc<AtomicBool>>,
}

struct Shared {
    access: Access,
    stack: ArcSwapOption<Stack>,
    /// When credentials were last read; `None` before the first time.
    loaded: tokio::sync::Mutex<Option<Instant>>,
    trouble: Mutex<Option<Trouble>>,
    /// Why there are no credentials, set by the task that obtains them.
    explanation: Mutex<Option<String>>,
    /// Notified when the server rejects the credentials.
    refusals: Notify,
}

impl Connection {
    /// Connects lazily, at the first request.
    pub(super) fn new(access: Access) -> Self {
        Self {
            shared: Arc::new(Shared {
                access,
                stack: ArcSwapOption::empty(),
                loaded: tokio::sync::Mutex::new(None),
                trouble: Mutex::new(None),
                explanation: Mutex::new(None),
                refusals: Notify::new(),
            }),
            watching: None,
        }
    }

    /// A client over this connection. It stays valid when credentials change.
    pub(super) fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// A client for one watch, which sets `watching` whenever the server begins to serve it. `kube`
    /// only reports objects, so that a watch resuming on a quiet node would go unnoticed.
    pub(super) fn watching_client(&self, watching: &Arc<AtomicBool>) -> kube::Client {
        let connection = Self {
            shared: Arc::clone(&self.shared),
            watching: Some(Arc::clone(watching)),
        };
        kube::Client::new(connection, "default")
    }

    /// Why requests currently fail; `None` if the last one got through.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let explained = self.shared.explanation().map(Trouble::lasting);
        explained.or_else(|| self.shared.trouble().clone())
    }

    /// Sets the reason for missing credentials.
    pub(super) fn explain(&self, reason: Option<String>) {
        let explanation = self.shared.explanation.lock();
        *explanation.unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Reloads credentials that were replaced. Requests in flight keep the old ones.
    pub(super) async fn reload(&self) {
        self.shared
            .reload(&mut *self.shared.loaded.lock().await)
            .await;
    }

    /// Waits until the server rejects the credentials.
    pub(super) async fn refusal(&self) {
        self.shared.refusals.notified().await;
    }
}

impl Shared {
    async fn stack(&self) -> Result<Arc<Stack>, Error> {
        if let Some(stack) = self.stack.load_full().filter(|stack| stack.is_fresh()) {
            return Ok(stack);
        }
        let mut loaded = self.loaded.lock().await;
        match self.stack.load_full() {
            Some(stack) if stack.is_fresh() => Ok(stack),
            Some(stack) => {
                self.renew(&mut loaded).await;
                Ok(self.stack.load_full().unwrap_or(stack))
            }
            None => self.load(&mut loaded).await,
        }
    }

    async fn load(&self, loaded: &mut Option<Instant>) -> Result<Arc<Stack>, Error> {
        *loaded = Some(Instant::now());
        let credentials = self.access.load().await?;
        let before = self.stack.load_full();
        let stack = Arc::new(Stack::new(credentials, before.as_deref())?);
        self.stack.store(Some(Arc::clone(&stack)));
        Ok(stack)
    }

    /// Rejected credentials may have been replaced on disk.
    async fn refused(&self) {
        self.renew(&mut *self.loaded.lock().await).await;
    }

    /// Reloads the credentials, at most once per [`RELOAD_INTERVAL`].
    async fn renew(&self, loaded: &mut Option<Instant>) {
        if loaded.is_some_and(|at| at.elapsed() < RELOAD_INTERVAL) {
            return;
        }
        self.reload(loaded).await;
    }

    async fn reload(&self, loaded: &mut Option<Instant>) {
        if let Err(error) = self.load(loaded).await {
            tracing::warn!(
                error = cnidaria_core::report::chain(&error),
                "credentials are kept as they are"
            );
        }
    }

    async fn call(&self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let stack = match self.stack().await {
            Ok(stack) => stack,
            Err(error) => {
                let reason = cnidaria_core::report::chain(&error);
                let reason = match self.explanation() {
                    Some(explanation) => format!("{reason}: {explanation}"),
                    None => reason,
                };
                *self.trouble() = Some(Trouble::lasting(reason.clone()));
                return Err(reason.into());
            }
        };
        let answered = stack.send(request).await;
        if let Err(error) = &answered {
            self.note_outage(cnidaria_core::report::chain(error.as_ref()));
            // The CA on disk may have been replaced by one that trusts this server.
            self.refused().await;
        }
        let response = answered?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let reason = "the API server does not take the credentials";
            *self.trouble() = Some(Trouble::lasting(reason.to_owned()));
            self.refused().await;
            self.refusals.notify_one();
        } else {
            *self.trouble() = None;
        }
        Ok(response)
    }

    fn note_outage(&self, reason: String) {
        let mut trouble = self.trouble();
        *trouble = Some(Trouble::outage(reason, trouble.as_ref()));
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explanation(&self) -> Option<String> {
        let explanation = self.explanation.lock();
        explanation.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().insert(USER_AGENT, WHO);
        let shared = Arc::clone(&self.shared);
        let is_watch = |query: &str| query.split('&').any(|member| member == "watch=true");
        let watching = self
            .watching
            .clone()
            .filter(|_| request.uri().query().is_some_and(is_watch));
        Box::pin(async move {
            let outcome = shared.call(request).await;
            // The watch itself handles other answers.
            if let (Some(watching), Ok(response)) = (watching, &outcome)
                && response.status().is_success()
            {
                watching.store(true, Ordering::Relaxed);
            }
            outcome
        })
    }
}

fn http(peer: &Peer) -> Result<Http, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    // The kernel probes a vanished server, so that the daemon needs no timer.
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE / 3));
    tcp.set_keepalive_retries(Some(3));
    let mut tls = HttpsConnectorBuilder::new()
        .with_tls_config(peer.tls()?)
        .https_or_http();
    if let Some(name) = peer.server_name()? {
        tls = tls.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let http = HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(tls.enable_http1().wrap_connector(tcp));
    Ok(BaseUriLayer::new(peer.server.clone()).layer(http))
}
