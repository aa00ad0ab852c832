//! The API server as TLS sees it: which server is trusted, and the client certificate.

use std::sync::Arc;

use hyper::Uri;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// The server's address, and everything that its connections depend on.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) server: Uri,
    /// The name expected in its certificate, if not the server's.
    pub(super) name: Option<String>,
    pub(super) trust: Trust,
    /// The client certificate chain and key, PEM in any order.
    pub(super) identity: Option<Vec<u8>>,
}

/// Which server certificates are trusted.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those issued by these CAs, PEM.
    Authorities(Vec<u8>),
    /// Those that the system trusts.
    System,
    /// All: the kubeconfig skips verification.
    Anybody,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A text is not a PEM certificate or key.
    #[error("{what}: {reason}")]
    Pem {
        /// What it should be.
        what: &'static str,
        reason: String,
    },
    /// Certificate and key do not match, or are of an unsupported kind.
    #[error("client certificate")]
    Identity(#[source] rustls::Error),
    /// Not a valid server name.
    #[error("tls-server-name {0:?} is no name of a server")]
    Name(String),
}

impl Peer {
    /// The TLS configuration for the server.
    ///
    /// # Errors
    /// [`Error`] says which part is invalid.
    pub(super) fn tls(&self) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder();
        let provider = Arc::clone(builder.crypto_provider());
        let builder = builder.with_root_certificates(self.trust.roots()?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let chain = certificates("client certificate", pem)?;
                let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| Error::Pem {
                    what: "client key",
                    reason: error.to_string(),
                })?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(Error::Identity)?
            }
        };
        if self.trust == Trust::Anybody {
            config
                .dangerous()
                .set_certificate_verifier(Arc::new(Anybody(provider)));
        }
        Ok(config)
    }

    /// The name for SNI and for verification.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub(super) fn server_name(&self) -> Result<Option<ServerName<'static>>, Error> {
        let Some(name) = &self.name else {
            return Ok(None);
        };
        match ServerName::try_from(name.clone()) {
            Ok(name) => Ok(Some(name)),
            Err(_) => Err(Error::Name(name.clone())),
        }
    }
}

impl Trust {
    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::Authorities(pem) => {
                for authority in certificates("certificate authority", pem)? {
                    roots.add(authority).map_err(|error| Error::Pem {
                        what: "certificate authority",
                        reason: error.to_string(),
                    })?;
                }
            }
            // Systems have some CAs that rustls does not support.
            Self::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Self::Anybody => {}
        }
        Ok(roots)
    }
}

/// Parses all certificates of a text; at least one.
fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |reason| Error::Pem { what, reason };
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("there is none".to_owned()));
    }
    Ok(certificates)
}

/// Accepts any server that has the key of the certificate it presents.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
