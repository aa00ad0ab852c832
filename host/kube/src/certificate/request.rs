//! Requests a certificate from the API server: creates a key and a CertificateSigningRequest, and
//! waits until it is approved and signed.

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec,
};
use kube::Api;
use kube::api::{ObjectMeta, PostParams, WatchEvent, WatchParams};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use super::stored::Certificate;

/// The signer of client certificates. Kubernetes approves nothing for it by itself.
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const USAGES: [&str; 2] = ["digital signature", "client auth"];
/// Pause before watching again after the server ends a watch.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the request brought no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The request cannot be created.
    #[error("certificate request")]
    Request(#[from] rcgen::Error),
    /// The API server rejects the request, or is unreachable.
    #[error("certificate request")]
    Api(#[from] kube::Error),
    /// The request was denied.
    #[error("certificate request {name} was not granted: {reason}")]
    Denied {
        /// Name of the CertificateSigningRequest.
        name: String,
        /// Reason in its condition.
        reason: String,
    },
    /// The issued certificate is unusable.
    #[error("the certificate that was issued for {name} cannot be used: {reason}")]
    Useless {
        /// Name of the CertificateSigningRequest.
        name: String,
        /// What is wrong with the certificate.
        reason: String,
    },
}

impl Error {
    /// Whether the server rejected the requester's credentials.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if matches!(status.code, 401 | 403))
    }
}

/// A submitted request and its private key.
pub(super) struct Pending {
    pub(super) name: String,
    version: String,
    key: KeyPair,
}

/// Submits a request for a certificate of `name` in `group`.
///
/// # Errors
/// [`Error`].
pub(super) async fn send(
    client: &kube::Client,
    name: &str,
    group: &str,
    lifetime: Duration,
) -> Result<Pending, Error> {
    let key = KeyPair::generate()?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, group);
    subject.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    let request = params.serialize_request(&key)?.pem()?;
    let object = CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some("csr-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: SIGNER.to_owned(),
            usages: Some(USAGES.map(str::to_owned).to_vec()),
            expiration_seconds: Some(i32::try_from(lifetime.as_secs()).unwrap_or(i32::MAX)),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let api = Api::<CertificateSigningRequest>::all(client.clone());
    let created = api.create(&PostParams::default(), &object).await?;
    Ok(Pending {
        name: created.metadata.name.unwrap_or_default(),
        version: created.metadata.resource_version.unwrap_or_default(),
        key,
    })
}

impl Pending {
    /// Waits for the certificate, without a timeout.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Useless`], and [`Error::Api`] if the server does not allow the
    /// watch.
    pub(super) async fn answer(self, client: &kube::Client) -> Result<Certificate, Error> {
        let api = Api::<CertificateSigningRequest>::all(client.clone());
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        let mut from = self.version.clone();
        loop {
            match self.watch(&api, &params, &from).await {
                Ok(Some(certificate)) => return self.check(&certificate),
                // The server ended the watch; the next one starts with the current state.
                Ok(None) => {}
                Err(error) if error.is_refusal() || matches!(error, Error::Denied { .. }) => {
                    return Err(error);
                }
                Err(error) => {
                    let error = cnidaria_core::report::chain(&error);
                    tracing::debug!(
                        request = self.name,
                        error,
                        "the watch of the certificate request failed; retrying"
                    );
                }
            }
            "0".clone_into(&mut from);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn watch(
        &self,
        api: &Api<CertificateSigningRequest>,
        params: &WatchParams,
        from: &str,
    ) -> Result<Option<String>, Error> {
        let mut events = pin!(api.watch(params, from).await?);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    if let Some(certificate) = self.read(&object)? {
                        return Ok(Some(certificate));
                    }
                }
                WatchEvent::Deleted(_) => {
                    return Err(self.denied("it was deleted".to_owned()));
                }
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The certificate chain, PEM, once issued.
    fn read(&self, object: &CertificateSigningRequest) -> Result<Option<String>, Error> {
        let Some(status) = &object.status else {
            return Ok(None);
        };
        for condition in status.conditions.iter().flatten() {
            if matches!(condition.type_.as_str(), "Denied" | "Failed") {
                let parts = [&condition.reason, &condition.message].map(Option::as_deref);
                let reason: Vec<&str> = parts.into_iter().flatten().collect();
                return Err(self.denied(reason.join(": ")));
            }
        }
        let issued = status.certificate.as_ref().map(|bytes| &bytes.0);
        Ok(issued
            .filter(|bytes| !bytes.is_empty())
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }

    fn denied(&self, reason: String) -> Error {
        Error::Denied {
            name: self.name.clone(),
            reason,
        }
    }

    fn check(&self, certificate: &str) -> Result<Certificate, Error> {
        let pem = format!("{}\n{}", certificate.trim_end(), self.key.serialize_pem());
        Certificate::parse(pem).map_err(|reason| Error::Useless {
            name: self.name.clone(),
            reason,
        })
    }
}
