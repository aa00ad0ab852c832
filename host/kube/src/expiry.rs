//! When the certificates end that an access uses, for operators.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::access::Access;
use crate::certificate::stored;
use crate::kubeconfig;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Identifies the daemon to the API server.
    Client,
    /// Verifies the API server's certificate; several may be trusted during a rotation.
    Authorities,
}

/// When a certificate, or the last of several authorities, is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// The file that it is in or that names it.
    pub source: PathBuf,
    /// What it is for.
    pub usage: Use,
    /// When it begins.
    pub begins: SystemTime,
    /// When it ends.
    pub ends: SystemTime,
}

/// The certificates of an access. Skips what cannot be read: other checks report it.
pub fn certificates(access: &Access) -> Vec<Validity> {
    match access {
        Access::InCluster {
            service_account, ..
        } => {
            let path = service_account.join("ca.crt");
            let pem = std::fs::read(&path).unwrap_or_default();
            authorities(&path, ders(&pem)).into_iter().collect()
        }
        Access::Kubeconfig(path) => of_kubeconfig(path),
        Access::NodeCertificate(own) => {
            let mut found = of_kubeconfig(&own.bootstrap_kubeconfig);
            if let Ok(Some(certificate)) = stored::load(&own.dir) {
                found.push(Validity {
                    source: own.dir.clone(),
                    usage: Use::Client,
                    begins: certificate.begins,
                    ends: certificate.ends,
                });
            }
            found
        }
    }
}

fn of_kubeconfig(path: &Path) -> Vec<Validity> {
    let Ok(config) = kubeconfig::read(path) else {
        return Vec::new();
    };
    let user = &config.auth_info;
    let pem = match (&user.client_certificate_data, &user.client_certificate) {
        (Some(data), _) => BASE64.decode(data).unwrap_or_default(),
        (None, Some(file)) => std::fs::read(file).unwrap_or_default(),
        (None, None) => Vec::new(),
    };
    let trusted = config.root_cert.clone().unwrap_or_default();
    let client = ders(&pem).first().and_then(|der| validity(der));
    let client = client.map(|(begins, ends)| Validity {
        source: path.to_owned(),
        usage: Use::Client,
        begins,
        ends,
    });
    client
        .into_iter()
        .chain(authorities(path, trusted))
        .collect()
}

/// The validity of the authority that ends last.
fn authorities(source: &Path, trusted: Vec<Vec<u8>>) -> Option<Validity> {
    let all = trusted.iter().filter_map(|der| validity(der));
    let (begins, ends) = all.max_by_key(|(_, ends)| *ends)?;
    Some(Validity {
        source: source.to_owned(),
        usage: Use::Authorities,
        begins,
        ends,
    })
}

fn ders(pem: &[u8]) -> Vec<Vec<u8>> {
    let found = CertificateDer::pem_slice_iter(pem);
    found.flatten().map(|der| der.to_vec()).collect()
}

fn validity(der: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let time = |seconds: i64| {
        UNIX_EPOCH.checked_add(Duration::from_secs(
            u64::try_from(seconds).unwrap_or_default(),
        ))
    };
    let validity = certificate.validity();
    Some((
        time(validity.not_before.timestamp())?,
        time(validity.not_after.timestamp())?,
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A certificate that is valid in the years from `begins` to `ends`.
    fn pem(begins: i32, ends: i32) -> String {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.not_before = rcgen::date_time_ymd(begins, 1, 1);
        params.not_after = rcgen::date_time_ymd(ends, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    fn year(time: SystemTime) -> u64 {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap().as_secs();
        1970 + seconds / (365 * 24 * 3600 + 6 * 3600)
    }

    fn found(access: &Access) -> Vec<(Use, u64, u64)> {
        let found = certificates(access).into_iter();
        found
            .map(|one| {
                // A day later, since the year is rounded.
                let day = Duration::from_secs(24 * 3600);
                (one.usage, year(one.begins + day), year(one.ends + day))
            })
            .collect()
    }

    fn kubeconfig(dir: &Path, authority: &str, user: &str) -> Access {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
             contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://10.0.0.1', {authority}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n"
        );
        let path = dir.join("kubeconfig");
        fs::write(&path, text).unwrap();
        Access::Kubeconfig(path)
    }

    #[test]
    fn a_kubeconfig_has_client_and_authority() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.crt"), pem(2020, 2030)).unwrap();
        fs::write(dir.path().join("client.crt"), pem(2025, 2026)).unwrap();
        let expected = [(Use::Client, 2025, 2026), (Use::Authorities, 2020, 2030)];
        let files = (
            "certificate-authority: ca.crt",
            "client-certificate: client.crt, client-key: k",
        );
        assert_eq!(found(&kubeconfig(dir.path(), files.0, files.1)), expected);
        let data = format!(
            "client-certificate-data: {}",
            BASE64.encode(pem(2025, 2026))
        );
        assert_eq!(found(&kubeconfig(dir.path(), files.0, &data)), expected);
        let token = kubeconfig(dir.path(), files.0, "token: secret");
        assert_eq!(found(&token), [(Use::Authorities, 2020, 2030)]);
    }

    #[test]
    fn of_several_authorities_the_last_counts() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = pem(2010, 2020) + &pem(2019, 2040) + &pem(2015, 2025);
        fs::write(dir.path().join("ca.crt"), bundle).unwrap();
        let access = Access::InCluster {
            server: String::new(),
            service_account: dir.path().to_owned(),
        };
        assert_eq!(found(&access), [(Use::Authorities, 2019, 2040)]);
    }

    #[test]
    fn what_cannot_be_read_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let access = Access::InCluster {
            server: String::new(),
            service_account: dir.path().to_owned(),
        };
        assert!(found(&access).is_empty());
        for text in [
            "",
            "x",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            fs::write(dir.path().join("ca.crt"), text).unwrap();
            assert!(found(&access).is_empty(), "{text}");
        }
        assert!(found(&Access::Kubeconfig(dir.path().join("missing"))).is_empty());
    }
}
