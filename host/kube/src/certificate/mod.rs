//! Manages the node's own certificate (`perNodeCertificate`): requested with the credentials of a
//! bootstrap kubeconfig, stored where Multus stores it, and renewed long before it expires. The
//! connection uses the old one until the new one is on the disk.

mod request;
pub(crate) mod stored;

use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::access::{Access, NodeCertificate};
use super::call::random;
use super::connection::Connection;
use stored::Certificate;

/// Multus' identity: the group, and as `system:multus:<node>` the user.
const IDENTITY: &str = "system:multus";
/// How long to wait for an approver, as in client-go, before sending another request.
const APPROVAL: Duration = Duration::from_secs(15 * 60);
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Maximum retry delay: each attempt leaves an object in the cluster.
const LAST_DELAY: Duration = Duration::from_secs(5 * 60);
/// Minimum interval between renewals that the server's rejections cause.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(60);

/// Why the node got no new certificate.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Request(#[from] request::Error),
    #[error(transparent)]
    Stored(#[from] stored::Error),
    #[error("certificate request {0} was neither approved nor denied")]
    NotApproved(String),
}

impl NodeCertificate {
    fn name(&self) -> String {
        format!("{IDENTITY}:{}", self.node)
    }

    fn is_of(&self, certificate: &Certificate) -> bool {
        certificate.name == self.name() && certificate.groups.iter().any(|group| group == IDENTITY)
    }
}

/// Keeps a connection's certificate valid.
pub(crate) struct Renewal {
    own: NodeCertificate,
    /// Authenticates with the certificate.
    connection: Connection,
    /// Authenticates as the bootstrap kubeconfig says.
    bootstrap: Connection,
    /// Issued, but not on the disk yet.
    unsaved: Option<Certificate>,
}

impl Renewal {
    pub(crate) fn new(own: NodeCertificate, connection: Connection) -> Self {
        let bootstrap = Connection::new(Access::Kubeconfig(own.bootstrap_kubeconfig.clone()));
        Self {
            own,
            connection,
            bootstrap,
            unsaved: None,
        }
    }

    /// Renews forever: when the certificate is missing, damaged or another node's, after 70 to 90 %
    /// of its lifetime, and when the server rejects it.
    pub(crate) async fn run(&mut self) {
        let mut delay = FIRST_DELAY;
        let mut obtained: Option<Instant> = None;
        let mut refused = false;
        loop {
            let current = self.current();
            let renewal = current
                .as_ref()
                .map(|certificate| renewal(certificate, random()));
            if let Some(rest) = renewal.and_then(rest)
                && !refused
            {
                self.connection.explain(None);
                tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    () = self.connection.refusal() => {
                        let recent = obtained.is_some_and(|at| at.elapsed() < REFUSAL_INTERVAL);
                        refused = !recent && self.current() == current;
                    }
                }
                continue;
            }
            let good = current.filter(|certificate| !refused && certificate.is_valid());
            match self.obtain(good.as_ref()).await {
                Ok(()) => (obtained, refused) = (Some(Instant::now()), false),
                Err(error) => {
                    let error = cnidaria_core::report::chain(&error);
                    tracing::warn!(error, "cannot obtain a certificate for this node; retrying");
                    if good.is_none() {
                        self.connection.explain(Some(error));
                    }
                }
            }
            // If clocks differ by more than its lifetime, a new certificate has expired at once.
            if self.is_at_rest() && !refused {
                delay = FIRST_DELAY;
            } else {
                tokio::time::sleep(delay / 2 + delay.mul_f64(random() / 2.0)).await;
                delay = (delay * 2).min(LAST_DELAY);
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let latest = self.current().map(|certificate| renewal(&certificate, 0.0));
        latest.and_then(rest).is_some()
    }

    /// The certificate on disk, if usable.
    fn current(&self) -> Option<Certificate> {
        match stored::load(&self.own.dir) {
            Ok(certificate) => certificate.filter(|certificate| self.own.is_of(certificate)),
            Err(error) => {
                let error = cnidaria_core::report::chain(&error);
                tracing::warn!(
                    error,
                    "cannot use the stored certificate of this node; requesting a new one"
                );
                None
            }
        }
    }

    /// Obtains a new certificate and makes the connection use it. `good`, if any, authenticates the
    /// node until then.
    #[expect(clippy::disallowed_methods, reason = "a file's name")]
    async fn obtain(&mut self, good: Option<&Certificate>) -> Result<(), Error> {
        let unsaved = self.unsaved.take();
        let certificate = match (unsaved.filter(Certificate::is_valid), good) {
            (Some(unsaved), _) => unsaved,
            (None, Some(_)) => match self.ask(&self.connection, false).await {
                Err(Error::Request(error)) if error.is_refusal() => {
                    self.ask(&self.bootstrap, false).await?
                }
                asked => asked?,
            },
            (None, None) => self.ask(&self.bootstrap, true).await?,
        };
        if let Err(error) = stored::save(&self.own.dir, &certificate, Timestamp::now()) {
            self.unsaved = Some(certificate);
            return Err(error.into());
        }
        tracing::info!(
            name = certificate.name,
            "obtained a certificate for this node"
        );
        self.connection.reload().await;
        Ok(())
    }

    /// Requests a certificate. `lacking` says that the node has none that works.
    async fn ask(&self, with: &Connection, lacking: bool) -> Result<Certificate, Error> {
        let client = with.client();
        let (name, lifetime) = (self.own.name(), self.own.lifetime);
        let pending = request::send(&client, &name, IDENTITY, lifetime).await?;
        let request = pending.name.clone();
        tracing::info!(
            request,
            "waiting for the certificate request to be approved"
        );
        if lacking {
            self.connection.explain(Some(format!(
                "certificate request {request} waits to be approved"
            )));
        }
        match tokio::time::timeout(APPROVAL, pending.answer(&client)).await {
            Ok(answered) => Ok(answered?),
            Err(_) => Err(Error::NotApproved(request)),
        }
    }
}

/// When to renew: after 70 to 90 % of the lifetime. `random`, from 0 to 1, spreads nodes that
/// started together.
fn renewal(certificate: &Certificate, random: f64) -> SystemTime {
    let lifetime = certificate
        .ends
        .duration_since(certificate.begins)
        .unwrap_or_default();
    certificate.begins + lifetime.mul_f64(0.7 + 0.2 * random)
}

#[expect(clippy::disallowed_methods, reason = "when a certificate is renewed")]
fn rest(until: SystemTime) -> Option<Duration> {
    until
        .duration_since(SystemTime::now())
        .ok()
        .filter(|rest| !rest.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_at_70_to_90_percent() {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 11);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        let certificate = Certificate::parse(pem).unwrap();
        let days = |random| {
            let after = renewal(&certificate, random)
                .duration_since(certificate.begins)
                .unwrap();
            after.as_secs() / (24 * 3600)
        };
        assert_eq!(days(0.0), 7);
        assert_eq!(days(0.5), 8);
        assert_eq!(days(1.0), 9);
    }
}
