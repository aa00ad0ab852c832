//! The connection to the API server: credentials, TLS and a pool of HTTP connections as one stack.
//! When credentials change it is replaced in place, without clients noticing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{Body, ConfigExt};
use parking_lot::{Mutex, MutexGuard};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

use super::access::{Access, Credentials, Error};
use super::concurrency;
use super::counts::{self, Counts, Requests};
use super::unavailable::Unavailable;

/// Connect timeout. The API server is near, or down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle time before a TCP keepalive probe.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Idle connections are kept for the rest of a burst only.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS: usize = concurrency::FIRST_LIMIT;
/// Minimum interval between reloads of rejected credentials.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The user agent, which identifies the daemon in audit logs and flow control.
const WHO: HeaderValue =
    HeaderValue::from_static(concat!("cnidaria-daemon/", env!("CARGO_PKG_VERSION")));

type Http = BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>;

/// What sends requests, with one set of credentials.
struct Stack {
    config: Config,
    /// The pool of connections.
    pool: Http,
    /// The pool below the layers that complete a request: URL, headers, authorization.
    http: Http,
    /// When to reload the credentials.
    until: Option<Instant>,
}

impl Stack {
    /// Reuses the connections of `before` if they depend on nothing that has changed.
    fn new(credentials: Credentials, before: Option<&Self>) -> Result<Self, Error> {
        let Credentials { mut config, fresh } = credentials;
        config.headers.push((USER_AGENT, WHO));
        let pool = match before.filter(|before| is_same_peer(&before.config, &config)) {
            Some(before) => before.pool.clone(),
            None => pool(&config)?,
        };
        let http = ServiceBuilder::new()
            .option_layer(config.auth_layer()?)
            .layer(config.extra_headers_layer()?)
            .layer(config.base_uri_layer())
            .service(pool.clone());
        Ok(Self {
            config,
            pool,
            http: BoxCloneSyncService::new(http),
            until: fresh.map(|fresh| Instant::now() + fresh),
        })
    }

    fn is_fresh(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        self.http.clone().oneshot(request).await
    }
}

/// The connection to one API server.
#[derive(Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    /// Set when the server begins to serve a watch.
    watching: Option<Arc<AtomicBool>>,
}

struct Shared {
    access: Access,
    stack: ArcSwapOption<Stack>,
    /// When credentials were last read; `None` before the first time.
    loaded: tokio::sync::Mutex<Option<Instant>>,
    unavailable: Mutex<Option<Unavailable>>,
    /// Why credentials are missing, set by the task that obtains them.
    explanation: Mutex<Option<String>>,
    /// Notified when the server rejects the credentials.
    refusals: Notify,
    counts: Counts,
}

impl Connection {
    /// Connects lazily, at the first request.
    pub(crate) fn new(access: Access) -> Self {
        Self {
            shared: Arc::new(Shared {
                access,
                stack: ArcSwapOption::empty(),
                loaded: tokio::sync::Mutex::new(None),
                unavailable: Mutex::new(None),
                explanation: Mutex::new(None),
                refusals: Notify::new(),
                counts: Counts::default(),
            }),
            watching: None,
        }
    }

    /// A client over this connection. It stays valid when credentials change.
    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// A client for one watch, which sets `watching` whenever the server begins to serve it. `kube`
    /// only reports objects, so that a watch resuming on a quiet node would go unnoticed.
    pub(crate) fn watching_client(&self, watching: &Arc<AtomicBool>) -> kube::Client {
        let connection = Self {
            shared: Arc::clone(&self.shared),
            watching: Some(Arc::clone(watching)),
        };
        kube::Client::new(connection, "default")
    }

    /// The requests since the start.
    pub(crate) fn requests(&self) -> Vec<Requests> {
        self.shared.counts.all()
    }

    /// Why requests currently fail; `None` if the last one got through.
    pub(crate) fn unavailable(&self) -> Option<Unavailable> {
        let explained = self.shared.explanation().map(Unavailable::lasting);
        explained.or_else(|| self.shared.unavailable().clone())
    }

    /// Sets the reason for missing credentials.
    pub(crate) fn explain(&self, reason: Option<String>) {
        *self.shared.explanation.lock() = reason;
    }

    /// Reloads credentials that were replaced. Requests in flight keep the old ones.
    pub(crate) async fn reload(&self) {
        self.shared
            .reload(&mut *self.shared.loaded.lock().await)
            .await;
    }

    /// Waits until the server rejects the credentials.
    pub(crate) async fn refusal(&self) {
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
                "cannot reload the credentials; keeping the previous ones"
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
                *self.unavailable() = Some(Unavailable::lasting(reason.clone()));
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
            *self.unavailable() = Some(Unavailable::lasting(reason.to_owned()));
            self.refused().await;
            self.refusals.notify_one();
        } else {
            *self.unavailable() = None;
        }
        Ok(response)
    }

    fn note_outage(&self, reason: String) {
        let mut unavailable = self.unavailable();
        *unavailable = Some(Unavailable::outage(reason, unavailable.as_ref()));
    }

    fn unavailable(&self) -> MutexGuard<'_, Option<Unavailable>> {
        self.unavailable.lock()
    }

    fn explanation(&self) -> Option<String> {
        self.explanation.lock().clone()
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let is_watch = |query: &str| query.split('&').any(|member| member == "watch=true");
        let watching = self
            .watching
            .clone()
            .filter(|_| request.uri().query().is_some_and(is_watch));
        Box::pin(async move {
            let kind = counts::kind(request.method(), request.uri());
            let outcome = shared.call(request).await;
            let code = outcome.as_ref().ok().map(Response::status);
            shared.counts.add(kind, code);
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

/// Whether two configurations' connections are interchangeable. A client certificate in files may
/// have been replaced.
fn is_same_peer(one: &Config, other: &Config) -> bool {
    let in_files = |config: &Config| {
        let user = &config.auth_info;
        user.client_certificate.is_some() || user.client_key.is_some()
    };
    let parts = |config: &Config| {
        let user = &config.auth_info;
        let key = user.client_key_data.as_ref();
        (
            config.cluster_url.clone(),
            config.tls_server_name.clone(),
            config.accept_invalid_certs,
            config.root_cert.clone(),
            user.client_certificate_data.clone(),
            key.map(|key| key.expose_secret().to_owned()),
        )
    };
    !in_files(one) && !in_files(other) && parts(one) == parts(other)
}

fn pool(config: &Config) -> Result<Http, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    // The kernel probes a vanished server, so that the daemon needs no timer.
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE / 3));
    tcp.set_keepalive_retries(Some(3));
    let http = HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(config.rustls_https_connector_with_connector(tcp)?);
    Ok(BoxCloneSyncService::new(http.map_err(BoxError::from)))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn stack(url: &str, change: impl Fn(&mut Config), before: Option<&Stack>) -> Stack {
        let mut config = Config::new(url.parse().unwrap());
        config.root_cert = Some(Vec::new());
        change(&mut config);
        let credentials = Credentials {
            config,
            fresh: None,
        };
        Stack::new(credentials, before).unwrap()
    }

    /// Sends a request over a stack, and returns what the server reads.
    async fn request(server: &TcpListener, stack: &Stack) -> String {
        let answer = async {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(head).unwrap().to_lowercase()
        };
        let request = Request::get("/api?x=y").body(Body::empty()).unwrap();
        let (head, response) = tokio::join!(answer, stack.send(request));
        assert_eq!(response.unwrap().status(), StatusCode::OK);
        head
    }

    #[tokio::test]
    async fn layers_complete_a_request_once() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prefix", server.local_addr().unwrap());
        let first = stack(
            &url,
            |config| {
                config.auth_info.token = Some("t".into());
                config.auth_info.impersonate = Some("other".to_owned());
            },
            None,
        );
        let basic = |config: &mut Config| {
            config.auth_info.username = Some("a".to_owned());
            config.auth_info.password = Some("b".into());
        };
        let second = stack(&url, basic, Some(&first));
        for (stack, expected) in [
            (
                &first,
                vec!["authorization: bearer t", "impersonate-user: other"],
            ),
            (&second, vec!["authorization: basic ytpi"]),
        ] {
            let head = request(&server, stack).await;
            let mut lines = head.lines();
            assert_eq!(lines.next(), Some("get /prefix/api?x=y http/1.1"));
            let own = |line: &&str| !line.is_empty() && !line.starts_with("host: ");
            let mut lines: Vec<_> = lines.filter(own).collect();
            lines.sort_unstable();
            let agent = format!("user-agent: {}", WHO.to_str().unwrap());
            let mut all = expected;
            all.push(&agent);
            assert_eq!(lines, all);
        }
    }

    #[test]
    fn connections_outlive_a_change_of_token_alone() {
        let config = |change: fn(&mut Config)| {
            let mut config = Config::new("https://a".parse().unwrap());
            config.auth_info.token = Some("t".into());
            config.auth_info.client_key_data = Some("k".into());
            change(&mut config);
            config
        };
        let first = config(|_| {});
        let token = config(|config| config.auth_info.token = Some("next".into()));
        assert!(is_same_peer(&first, &token));
        for change in [
            (|config| config.cluster_url = "https://b".parse().unwrap()) as fn(&mut Config),
            |config| config.root_cert = Some(Vec::new()),
            |config| config.accept_invalid_certs = true,
            |config| config.tls_server_name = Some("b".to_owned()),
            |config| config.auth_info.client_certificate_data = Some("c".to_owned()),
            |config| config.auth_info.client_key_data = Some("other".into()),
        ] {
            assert!(!is_same_peer(&first, &config(change)));
        }
        // Files may have changed.
        let files = config(|config| config.auth_info.client_key = Some("/k".to_owned()));
        assert!(!is_same_peer(&files, &files.clone()));
    }
}
