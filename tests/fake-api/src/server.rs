//! The server's interface for tests: start it on a loopback port, fill it, disturb it, and read
//! which requests it received.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, broadcast, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;
use crate::faults::{Fault, Faults};
use crate::kinds::Kind;
use crate::object::{metadata, text};
use crate::rbac::Roles;
use crate::record::Recorded;
use crate::schema::Schemas;
use crate::store::Store;
use crate::users::{Tokens, User};
use crate::watch::Command;
use crate::{Error, handler, signing, users};

/// State shared by all requests.
pub(crate) struct Cluster {
    pub(crate) roles: Roles,
    pub(crate) schemas: Schemas,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) watch_commands: broadcast::Sender<Command>,
    pub(crate) recorded: Mutex<Vec<Recorded>>,
    /// The number of requests so far.
    pub(crate) requests: watch::Sender<usize>,
    tokens: Mutex<Tokens>,
    faults: Mutex<Faults>,
    authority: Mutex<Arc<Authority>>,
    acceptor: Mutex<TlsAcceptor>,
    /// How to answer certificate requests: `None` ignores them, zero denies them.
    signing: Mutex<Option<Duration>>,
    /// Every change closes all connections; `false` refuses new ones.
    up: watch::Sender<bool>,
}

impl Cluster {
    pub(crate) fn lock_store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn authority(&self) -> Arc<Authority> {
        Arc::clone(
            &self
                .authority
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Signs a certificate request or denies it, as the test configured.
    pub(crate) fn sign(&self, request: &Value) {
        let lifetime = *self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        let status = match lifetime {
            None => return,
            Some(Duration::ZERO) => signing::denied(),
            Some(lifetime) => match signing::signed(request, &self.authority(), lifetime) {
                Ok(status) => status,
                Err(_) => signing::denied(),
            },
        };
        let mut after = request.clone();
        after["status"] = status;
        let kind = Kind::named("CertificateSigningRequest").expect("is known");
        // A request that was deleted in the meantime needs no answer.
        let _ = self.lock_store().replace(kind, request, after);
    }
}

/// A server's configuration.
#[derive(Debug, Default)]
pub struct Builder {
    manifests: Vec<PathBuf>,
}

impl Builder {
    /// Grants what a manifest's cluster roles and bindings allow, and checks custom resources by its
    /// definitions.
    pub fn roles(mut self, manifest: impl Into<PathBuf>) -> Self {
        self.manifests.push(manifest.into());
        self
    }

    /// Starts the server on a free loopback port.
    ///
    /// # Errors
    /// When a role, a certificate or the socket cannot be set up.
    pub async fn start(self) -> Result<FakeApi, Error> {
        let (mut roles, mut schemas) = (Roles::default(), Schemas::default());
        for manifest in &self.manifests {
            roles.load(manifest)?;
            schemas.load(manifest)?;
        }
        let authority = Authority::new("kubernetes")?;
        let acceptor = TlsAcceptor::from(authority.server_config()?);
        let cluster = Arc::new(Cluster {
            roles,
            schemas,
            store: Arc::default(),
            watch_commands: broadcast::Sender::new(64),
            recorded: Mutex::default(),
            requests: watch::Sender::new(0),
            tokens: Mutex::default(),
            faults: Mutex::default(),
            authority: Mutex::new(Arc::new(authority)),
            acceptor: Mutex::new(acceptor),
            signing: Mutex::new(None),
            up: watch::Sender::new(true),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(Arc::clone(&cluster), listener));
        Ok(FakeApi {
            cluster,
            address,
            task,
        })
    }
}

async fn accept(cluster: Arc<Cluster>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        if !*cluster.up.borrow() {
            // Closing with zero linger sends a reset, as from a port without a listener.
            let _ = stream.set_zero_linger();
            continue;
        }
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            let mut up = cluster.up.subscribe();
            tokio::select! {
                () = serve(&cluster, stream) => {}
                _ = up.changed() => {}
            }
        });
    }
}

async fn serve(cluster: &Arc<Cluster>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let acceptor = cluster
        .acceptor
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first().cloned());
    let service = service_fn(|request| {
        // A connection may outlive its certificate and the authority.
        let user = match &certificate {
            None => Some(User::anonymous()),
            Some(one) if cluster.authority().trusts(one) => users::of_certificate(one),
            Some(_) => None,
        };
        handler::answer(Arc::clone(cluster), user, request)
    });
    // Connection errors are the client's to handle.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// A running server, stopped on drop.
pub struct FakeApi {
    cluster: Arc<Cluster>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.task.abort();
        self.cluster.up.send_replace(false);
    }
}

impl FakeApi {
    /// Configures a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `https://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The PEM certificate of the authority that signed the server's certificate.
    pub fn ca(&self) -> String {
        self.cluster.authority().pem().to_owned()
    }

    /// Issues a token, valid until it is revoked.
    pub fn issue_token(&self, user: User) -> String {
        self.cluster.lock_tokens().issue(user)
    }

    /// Revokes a token.
    pub fn revoke_token(&self, token: &str) {
        self.cluster.lock_tokens().revoke(token);
    }

    /// Replaces the authority and the server's certificate, and closes all connections.
    ///
    /// # Errors
    /// When a certificate cannot be created.
    pub fn rotate_authority(&self) -> Result<(), Error> {
        let authority = Authority::new("kubernetes-next")?;
        let acceptor = TlsAcceptor::from(authority.server_config()?);
        *self
            .cluster
            .acceptor
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = acceptor;
        *self
            .cluster
            .authority
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(authority);
        self.cut_connections();
        Ok(())
    }

    /// Writes a kubeconfig that uses `token`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path, token: &str) -> std::io::Result<()> {
        use base64::Engine;
        let ca = base64::engine::general_purpose::STANDARD.encode(self.ca());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters:\n- name: c\n  cluster:\n    server: {}\n    certificate-authority-data: {ca}\n\
             contexts:\n- name: c\n  context: {{cluster: c, user: u}}\n\
             users:\n- name: u\n  user:\n    token: {token}\n",
            self.url()
        );
        std::fs::write(path, text)
    }

    /// Writes a service account's directory: `token` and `ca.crt`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write_service_account(&self, dir: &Path, token: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("token"), token)?;
        std::fs::write(dir.join("ca.crt"), self.ca())
    }

    /// Creates an object, or replaces the one of its name. A list is created item by item. Returns
    /// the object as stored.
    ///
    /// # Panics
    /// When the kind is not served or the object is rejected: the test itself is wrong.
    #[expect(clippy::panic, reason = "what tests hand in is the test's own mistake")]
    pub fn apply(&self, mut object: Value) -> Value {
        if let Some(items) = object.get("items").and_then(Value::as_array) {
            return items.iter().map(|item| self.apply(item.clone())).collect();
        }
        let name = text(&object, "/kind").to_owned();
        let Some(kind) = Kind::named(&name) else {
            panic!("{name} is not served");
        };
        if kind.namespaced && text(&object, "/metadata/namespace").is_empty() {
            metadata(&mut object).insert("namespace".to_owned(), "default".into());
        }
        let mut store = self.cluster.lock_store();
        let namespace = text(&object, "/metadata/namespace");
        let before = store
            .get(kind, namespace, text(&object, "/metadata/name"))
            .cloned();
        let stored = match before {
            Err(_) => store.create(kind, object),
            Ok(before) => {
                for field in ["uid", "creationTimestamp"] {
                    let value = before["metadata"][field].clone();
                    metadata(&mut object).entry(field).or_insert(value);
                }
                object["apiVersion"] = before["apiVersion"].clone();
                metadata(&mut object).remove("resourceVersion");
                store.replace(kind, &before, object)
            }
        };
        match stored {
            Ok(stored) => stored,
            Err(refusal) => panic!("{}", refusal.message),
        }
    }

    /// Deletes an object; returns whether it existed.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> bool {
        Kind::named(kind)
            .is_some_and(|kind| self.cluster.lock_store().delete(kind, namespace, name))
    }

    /// An object's current state.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let kind = Kind::named(kind)?;
        self.cluster
            .lock_store()
            .get(kind, namespace, name)
            .ok()
            .cloned()
    }

    /// All objects of a kind.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        let store = self.cluster.lock_store();
        Kind::named(kind)
            .map(|kind| {
                store
                    .all(kind, None)
                    .map(|(_, object)| object.clone())
                    .collect()
            })
            .unwrap_or_default()
    }

    /// The requests since the last call.
    pub fn take_requests(&self) -> Vec<Recorded> {
        std::mem::take(
            &mut self
                .cluster
                .recorded
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Waits until the requests not yet taken satisfy `fits`.
    pub async fn wait_for(&self, fits: impl Fn(&[Recorded]) -> bool) {
        let mut requests = self.cluster.requests.subscribe();
        loop {
            requests.mark_unchanged();
            let fit = {
                let recorded = self.cluster.recorded.lock();
                fits(&recorded.unwrap_or_else(PoisonError::into_inner))
            };
            if fit || requests.changed().await.is_err() {
                return;
            }
        }
    }

    /// Delays every response this long.
    pub fn set_latency(&self, latency: Duration) {
        self.cluster.lock_faults().latency = latency;
    }

    /// Streaming lists start at once, but send the first object after this delay.
    pub fn set_list_delay(&self, delay: Duration) {
        self.cluster.lock_faults().list_delay = delay;
    }

    /// Holds requests of an act, `verb resource`, until this many have arrived.
    pub fn gather(&self, act: &str, count: usize) {
        let together = Arc::new(Barrier::new(count));
        self.cluster.lock_faults().gathering = Some((act.to_owned(), together));
    }

    /// Makes requests fail, once per fault.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.cluster.lock_faults().queue.extend(faults);
    }

    /// Sets whether streaming lists are served, which is the default.
    pub fn set_streaming_lists(&self, served: bool) {
        self.cluster.lock_faults().no_streaming = !served;
    }

    /// Sets whether a kind is served, which is the default. Disabling one ends its watches, as
    /// deleting its definition does.
    ///
    /// # Panics
    /// When the kind is unknown to this server.
    pub fn set_served(&self, kind: &str, served: bool) {
        let kind = Kind::named(kind).expect("tests name kinds that are known here");
        let mut faults = self.cluster.lock_faults();
        faults.not_served.retain(|plural| *plural != kind.plural);
        if !served {
            faults.not_served.push(kind.plural);
        }
        drop(faults);
        self.end_watches();
    }

    /// Sets the answer to pending and future certificate requests: signs for this long, or denies
    /// if zero. `None` leaves them unanswered.
    pub fn set_signing(&self, lifetime: Option<Duration>) {
        *self
            .cluster
            .signing
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = lifetime;
        for request in self.all("CertificateSigningRequest") {
            if request["status"]["conditions"].is_null() {
                self.cluster.sign(&request);
            }
        }
    }

    /// Closes every connection, but accepts new ones.
    pub fn cut_connections(&self) {
        self.cluster.up.send_replace(true);
    }

    /// Closes every connection and refuses new ones.
    pub fn go_down(&self) {
        self.cluster.up.send_replace(false);
    }

    /// Comes back without its history, like a restarted server.
    pub fn come_up(&self) {
        self.cluster.lock_store().compact();
        self.cluster.up.send_replace(true);
    }

    /// Tells every watch that its resource version is too old.
    pub fn expire_watches(&self) {
        self.cluster.lock_store().compact();
        let _ = self.cluster.watch_commands.send(Command::Expire);
    }

    /// Ends every watch, as the server does after a timeout.
    pub fn end_watches(&self) {
        let _ = self.cluster.watch_commands.send(Command::End);
    }

    /// Breaks every watch's connection.
    pub fn break_watches(&self) {
        let _ = self.cluster.watch_commands.send(Command::Break);
    }

    /// Sends a bookmark to every watch that requested them.
    pub fn send_bookmarks(&self) {
        let _ = self.cluster.watch_commands.send(Command::Bookmark);
    }

    /// Forgets the history, so that disconnected clients must list again.
    pub fn compact(&self) {
        self.cluster.lock_store().compact();
    }
}
