//! The certificate on disk, in the format of client-go's store, so that Multus and this daemon can
//! use each other's: a file per certificate with its key, and a symbolic link to the current one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The store's name in Multus.
const PREFIX: &str = "multus-client";
/// Earlier certificates to keep, as running processes may have one open.
const EARLIER: usize = 1;

/// Why a certificate cannot be stored or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file operation failed.
    #[error("{action} {path}")]
    File {
        /// What was attempted.
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Not a certificate with its matching key.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file, or the API server's answer.
        path: PathBuf,
        reason: String,
    },
}

/// A certificate and its key, verified to match.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// The chain and the key, PEM.
    pem: String,
    pub(crate) begins: SystemTime,
    pub(crate) ends: SystemTime,
    /// Common name.
    pub(super) name: String,
    /// Organizations.
    pub(super) groups: Vec<String>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.name;
        f.debug_struct("Certificate")
            .field("name", name)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Parses a chain and its key, in any order.
    ///
    /// # Errors
    /// Why they are not one usable certificate.
    pub(super) fn parse(pem: String) -> Result<Self, String> {
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        let leaf = chain.first().ok_or("no certificate")?.clone();
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| format!("private key: {error}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        CertifiedKey::from_der(chain, key, &provider).map_err(|error| error.to_string())?;
        let (_, leaf) = X509Certificate::from_der(&leaf).map_err(|error| error.to_string())?;
        let time = |seconds: i64| {
            UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        };
        let subject = leaf.subject();
        let text = |part: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            part.as_str().unwrap_or_default().to_owned()
        };
        Ok(Self {
            begins: time(leaf.validity().not_before.timestamp()),
            ends: time(leaf.validity().not_after.timestamp()),
            name: subject
                .iter_common_name()
                .next()
                .map(text)
                .unwrap_or_default(),
            groups: subject.iter_organization().map(text).collect(),
            pem,
        })
    }

    /// Whether it has not expired.
    #[expect(clippy::disallowed_methods, reason = "whether a certificate is valid")]
    pub(crate) fn is_valid(&self) -> bool {
        self.ends > SystemTime::now()
    }

    /// The chain and the key, PEM.
    pub(crate) fn pem(&self) -> Vec<u8> {
        self.pem.clone().into_bytes()
    }
}

/// Loads the current certificate; `None` before the first one.
///
/// # Errors
/// [`Error::Damaged`] if the file is not a certificate with its key.
pub(crate) fn load(dir: &Path) -> Result<Option<Certificate>, Error> {
    let path = link(dir, "current");
    let pem = match fs::read_to_string(&path) {
        // client-go removes the link for a moment, and may have been stopped right then.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::read_to_string(link(dir, "updated"))
        }
        read => read,
    };
    match pem {
        Ok(pem) => Certificate::parse(pem)
            .map(Some)
            .map_err(|reason| Error::Damaged { path, reason }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Error::Damaged {
            path,
            reason: error.to_string(),
        }),
        Err(source) => Err(Error::File {
            action: "cannot read",
            path,
            source,
        }),
    }
}

/// Stores a certificate as the current one, atomically for readers.
///
/// # Errors
/// [`Error::File`]; the current one is unchanged.
pub(super) fn save(dir: &Path, certificate: &Certificate, now: Timestamp) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed("cannot make", dir))?;
    let time = now.strftime("%Y-%m-%d-%H-%M-%S");
    let file = link(dir, &time.to_string());
    let temporary = link(dir, "new");
    write(&temporary, &certificate.pem).map_err(failed("cannot write", &temporary))?;
    fs::rename(&temporary, &file).map_err(failed("cannot write", &file))?;
    let (updated, current) = (link(dir, "updated"), link(dir, "current"));
    match fs::remove_file(&updated) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("cannot remove", &updated)(error));
        }
        _ => {}
    }
    // client-go's link is absolute.
    let target = std::path::absolute(&file).map_err(failed("cannot find", &file))?;
    std::os::unix::fs::symlink(target, &updated).map_err(failed("cannot link", &updated))?;
    fs::rename(&updated, &current).map_err(failed("cannot link", &current))?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(failed("cannot write", dir))?;
    forget_earlier(dir, &file);
    Ok(())
}

fn write(path: &Path, pem: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()
}

/// Removes old certificates: with lifetimes of ten minutes they would fill the directory.
fn forget_earlier(dir: &Path, current: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mut earlier: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path != current && is_dated(path))
        .collect();
    earlier.sort();
    let count = earlier.len().saturating_sub(EARLIER);
    for path in earlier.iter().take(count) {
        // A leftover file is harmless.
        let _ = fs::remove_file(path);
    }
}

fn is_dated(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(".pem"))
        .is_some_and(|time| {
            time.len() == "-2006-01-02-15-04-05".len()
                && time.bytes().all(|b| b == b'-' || b.is_ascii_digit())
        })
}

fn link(dir: &Path, which: &str) -> PathBuf {
    dir.join(format!("{PREFIX}-{which}.pem"))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn issue(name: &str) -> Certificate {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "system:multus");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Certificate::parse(certificate + &key.serialize_pem()).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn saved_certificate_has_client_go_layout() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made/on/the/way");
        assert_eq!(load(&dir).unwrap(), None);
        let certificate = issue("system:multus:n");
        save(&dir, &certificate, at(0)).unwrap();
        assert_eq!(load(&dir).unwrap().as_ref(), Some(&certificate));
        assert_eq!(certificate.name, "system:multus:n");
        assert_eq!(certificate.groups, ["system:multus"]);
        let target = fs::read_link(dir.join("multus-client-current.pem")).unwrap();
        assert_eq!(
            target,
            dir.join("multus-client-2023-11-14-22-13-20.pem"),
            "absolute, and named by the time"
        );
        let mode = fs::metadata(target).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn earlier_certificates_do_not_pile_up() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("multus-client-notes.pem"), "").unwrap();
        for second in 0..5 {
            save(dir.path(), &issue("n"), at(second)).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "multus-client-2023-11-14-22-13-23.pem",
                "multus-client-2023-11-14-22-13-24.pem",
                "multus-client-current.pem",
                "multus-client-notes.pem"
            ]
        );
    }

    #[test]
    fn a_change_that_was_interrupted_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = issue("n");
        save(dir.path(), &certificate, at(0)).unwrap();
        let current = dir.path().join("multus-client-current.pem");
        fs::rename(&current, dir.path().join("multus-client-updated.pem")).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(certificate));
        let next = issue("n");
        save(dir.path(), &next, at(1)).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(next));
    }

    #[test]
    fn no_damage_is_taken_for_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("multus-client-current.pem");
        let (a, b) = (issue("a"), issue("b"));
        let split = a.pem.find("-----BEGIN PRIVATE KEY").unwrap();
        let other = b.pem.find("-----BEGIN PRIVATE KEY").unwrap();
        let mixed = format!("{}{}", &a.pem[..split], &b.pem[other..]);
        for damage in ["", "garbage", &a.pem[..split], &a.pem[split..], &mixed] {
            fs::write(&current, damage).unwrap();
            let error = load(dir.path()).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{damage}: {error}");
        }
        fs::write(&current, b"\xff\xfe").unwrap();
        assert!(matches!(load(dir.path()), Err(Error::Damaged { .. })));
        // And it does not prevent a new one.
        save(dir.path(), &a, at(0)).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(a));
    }
}
