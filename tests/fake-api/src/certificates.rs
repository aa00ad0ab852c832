//! The cluster's certificate authority.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use std::time::{Duration, SystemTime};

use crate::Error;

/// Signs certificates for the server and for clients.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Result<Self, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).map_err(tls)?;
        let clients = WebPkiClientVerifier::builder(Arc::new(roots))
            .allow_unauthenticated()
            .build()
            .map_err(tls)?;
        Ok(Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
            clients,
        })
    }

    /// The authority's certificate, PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether this authority issued the client certificate and it is currently valid.
    pub(crate) fn trusts(&self, certificate: &CertificateDer<'_>) -> bool {
        let verified = self
            .clients
            .verify_client_cert(certificate, &[], UnixTime::now());
        verified.is_ok()
    }

    /// The server's TLS configuration, with a certificate for the loopback address. It accepts any
    /// client certificate: like the real server, it authenticates each request, not the connection.
    pub(crate) fn server_config(&self) -> Result<Arc<ServerConfig>, Error> {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder()
            .with_client_cert_verifier(Arc::new(Unverified(Arc::clone(&self.clients))))
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(tls)?;
        Ok(Arc::new(config))
    }

    /// Signs a client's PEM request, as `kubernetes.io/kube-apiserver-client` does.
    #[expect(clippy::disallowed_methods, reason = "when a certificate is valid")]
    pub(crate) fn sign_client(&self, request: &str, lifetime: Duration) -> Result<String, Error> {
        let mut request = CertificateSigningRequestParams::from_pem(request)?;
        request.params.not_before = (SystemTime::now() - Duration::from_secs(1)).into();
        request.params.not_after = (SystemTime::now() + lifetime).into();
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Ok(request.signed_by(&self.issuer)?.pem())
    }
}

/// Verifies the handshake's signature but not the certificate's issuer.
#[derive(Debug)]
struct Unverified(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Unverified {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn tls(error: impl std::fmt::Display) -> Error {
    Error::Tls(error.to_string())
}
