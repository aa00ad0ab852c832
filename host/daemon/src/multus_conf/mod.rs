//! Provides the conf with which the container runtime executes the shim: generated from the primary
//! network's conf, or copied. It is replaced atomically, updated when its source changes, and kept
//! when the daemon exits: without it, pods would come up with one network.

mod primary;
mod provided;
mod replace;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::watch::Watch;
use cnidaria_core::report;
use config::conf_file::{ConfFile, FILE_NAME, Generated};
use files::Links;
use libcni::load::MAX_BYTES;

pub use provided::Provided;

/// Why the conf cannot be provided.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source's directory cannot be watched.
    #[error("cannot watch {path} for the primary network's conf")]
    Watch {
        /// Path of the directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file to copy cannot be read.
    #[error("multusConfigFile: cannot read {path}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// `multusConfigFile` is not the path of a file.
    #[error("multusConfigFile: {0} is not the path of a file")]
    NoFile(PathBuf),
    /// The primary network's conf cannot be used at present.
    #[error("primary network")]
    Primary(#[from] libcni::load::Error),
    /// `multusMasterCNI` names a conf that executes the shim.
    #[error("multusMasterCNI: {path} cannot be the primary network's conf")]
    Own {
        /// Path of the conf.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: cnidaria_core::domain::shim::Error,
    },
    /// The conf cannot be expressed in JSON.
    #[error("generated conf")]
    Json(#[from] cni_types::json::Error),
    /// The conf cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Path of the conf.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Keeps the runtime's conf up to date.
#[derive(Debug)]
pub struct Provider {
    provided: Provided,
    source: Arc<Source>,
    watch: Watch,
}

#[derive(Debug)]
enum Source {
    File { from: PathBuf, to: PathBuf },
    Primary(Box<Generated>),
}

impl Provider {
    /// Starts watching the source. Writes nothing yet: the runtime must not find the conf before
    /// the daemon serves requests. `None` if no conf is configured.
    ///
    /// # Errors
    /// [`Error`] if the directory or the file does not exist.
    pub fn open(conf: ConfFile) -> Result<Option<Self>, Error> {
        let provided = Provided::of(&conf);
        let (source, dir) = match conf {
            ConfFile::Absent => return Ok(None),
            ConfFile::Copied { from, to_dir } => {
                let (Some(name), Some(dir)) = (from.file_name(), from.parent()) else {
                    return Err(Error::NoFile(from));
                };
                let (to, dir) = (to_dir.join(name), dir.to_owned());
                std::fs::metadata(&from).map_err(|source| Error::Read {
                    path: from.clone(),
                    source,
                })?;
                (Source::File { from, to }, dir)
            }
            ConfFile::Generated(generated) => {
                let dir = generated.primary_dir.clone();
                (Source::Primary(generated), dir)
            }
        };
        // A relative path may have an empty parent.
        let dir = if dir.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            dir
        };
        let watch =
            Watch::on([dir.as_path()]).map_err(|source| Error::Watch { path: dir, source })?;
        Ok(Some(Self {
            provided,
            source: Arc::new(source),
            watch,
        }))
    }

    /// The conf, for its removal.
    pub fn provided(&self) -> Provided {
        self.provided.clone()
    }

    /// Writes the conf, and updates it whenever its source changes. Returns once it was removed, or
    /// if watching fails.
    pub async fn run(&mut self) {
        while !self.provided.is_ended() {
            // The file system may be slow, and one thread serves all requests.
            let (source, provided) = (self.source.clone(), self.provided.clone());
            match tokio::task::spawn_blocking(move || source.provide(&provided)).await {
                Ok(Ok(())) => {}
                // Keep the old conf: a stale one is better than none.
                Ok(Err(error)) => {
                    tracing::error!(
                        error = report::chain(&error),
                        "cannot update the runtime's conf; its previous state stays"
                    );
                }
                Err(error) => {
                    tracing::error!(%error, "the task that writes the runtime's conf panicked; its previous state stays")
                }
            }
            if let Err(error) = self.watch.changed().await {
                tracing::error!(%error, "cannot watch the primary network's conf; its changes take effect when the daemon restarts");
                return;
            }
        }
    }
}

impl Source {
    fn provide(&self, provided: &Provided) -> Result<(), Error> {
        match self {
            Self::File { from, to } => {
                let text =
                    files::read(from, Links::Follow, MAX_BYTES).map_err(|source| Error::Read {
                        path: from.clone(),
                        source,
                    })?;
                provided.writing(to, || write(to, &text))
            }
            Self::Primary(generated) => match primary::find(generated)? {
                Some(primary) => {
                    let text = generated.text(&primary)?;
                    let path = generated.target_dir.join(FILE_NAME);
                    provided.writing(&path, || write(&path, text.as_bytes()))
                }
                None => {
                    let dir = generated.primary_dir.display();
                    let file = generated.primary.as_deref();
                    tracing::warn!(%dir, file, "waiting for the primary network's conf");
                    Ok(())
                }
            },
        }
    }
}

fn write(path: &Path, text: &[u8]) -> Result<(), Error> {
    let old = files::read(path, Links::Follow, MAX_BYTES).unwrap_or_default();
    match replace::replace(path, text) {
        Ok(true) => {
            // Never the text: delegates' confs contain credentials.
            let changed = changed_keys(&old, text);
            tracing::info!(path = %path.display(), changed, "wrote the runtime's conf");
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(source) => Err(Error::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The names of the members that differ, without their values.
fn changed_keys(old: &[u8], new: &[u8]) -> String {
    type Members = std::collections::BTreeMap<String, serde_json::Value>;
    let members = |text| serde_json::from_slice::<Members>(text).unwrap_or_default();
    let (old, new) = (members(old), members(new));
    let mut keys: Vec<&str> = (old.keys().chain(new.keys()))
        .filter(|key| old.get(*key) != new.get(*key))
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::json::RawObject;
    use std::time::Duration;

    const PRIMARY: &str = r#"{"cniVersion":"1.0.0","name":"cbr0","plugins":[{"type":"bridge","capabilities":{"mac":true,"ips":false}}]}"#;

    #[test]
    fn a_change_is_named_without_its_value() {
        let changed = |old: &str, new: &str| changed_keys(old.as_bytes(), new.as_bytes());
        let old = r#"{"name":"a","token":"secret","type":"x"}"#;
        let new = r#"{"name":"a","token":"other","extra":{"password":"p"}}"#;
        assert_eq!(changed(old, new), "extra, token, type");
        assert_eq!(changed("", r#"{"name":"secret"}"#), "name");
        assert_eq!(changed("secret", "other"), "");
    }

    struct Rig {
        dir: tempfile::TempDir,
        task: tokio::task::JoinHandle<()>,
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    impl Rig {
        fn start(dir: tempfile::TempDir, keys: &str) -> Self {
            let at = dir.path().display();
            let text = format!(
                r#"{{"cniVersion":"1.0.0","cniConfigDir":"{at}","multusAutoconfigDir":"{at}",{keys}}}"#
            );
            let conf = ConfFile::parse(&RawObject::parse(text).unwrap()).unwrap();
            let mut provider = Provider::open(conf).unwrap().unwrap();
            let task = tokio::spawn(async move { provider.run().await });
            Self { dir, task }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        /// Waits until the conf contains a text.
        async fn says(&self, wanted: &str) -> String {
            let path = self.path(FILE_NAME);
            tokio::time::timeout(Duration::from_secs(20), async {
                loop {
                    let text = std::fs::read_to_string(&path).unwrap_or_default();
                    if text.contains(wanted) {
                        return text;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            })
            .await
            .unwrap_or_else(|_| panic!("the conf never said {wanted}"))
        }
    }

    #[tokio::test]
    async fn first_conf_of_directory_is_primary() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("10-a.conflist"), PRIMARY).unwrap();
        std::fs::write(dir.path().join("05-x.json"), PRIMARY).unwrap();
        std::fs::write(dir.path().join("00-multus.conf.old"), "x").unwrap();
        let rig = Rig::start(dir, r#""multusConfigFile":"auto""#);
        let conf = rig.says("10-a.conflist").await;
        assert!(conf.contains(r#""capabilities":{"mac":true}"#), "{conf}");
    }

    #[tokio::test]
    async fn a_conf_that_executes_a_shim_is_passed_over() {
        let shims = [
            r#"{"cniVersion":"1.0.0","name":"m","type":"multus","binDir":"/x"}"#,
            r#"{"cniVersion":"1.0.0","name":"m","type":"own"}"#,
            r#"{"cniVersion":"1.0.0","name":"m","plugins":[{"type":"a"},{"type":"cnidaria-shim"}]}"#,
        ];
        for shim in shims {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("05-old.conf"), shim).unwrap();
            std::fs::write(dir.path().join("10-a.conflist"), PRIMARY).unwrap();
            let rig = Rig::start(dir, r#""multusConfigFile":"auto","type":"own""#);
            rig.says("10-a.conflist").await;
        }
    }

    #[tokio::test]
    async fn a_torn_conf_is_waited_for_behind_a_shims() {
        let dir = tempfile::tempdir().unwrap();
        let shim = r#"{"cniVersion":"1.0.0","name":"m","type":"multus"}"#;
        std::fs::write(dir.path().join("05-old.conf"), shim).unwrap();
        std::fs::write(dir.path().join("07-torn.conf"), r#"{"cniVersion"#).unwrap();
        std::fs::write(dir.path().join("10-a.conflist"), PRIMARY).unwrap();
        let keys =
            r#"{"cniVersion":"1.0.0","multusConfigFile":"auto","multusAutoconfigDir":"DIR"}"#;
        let keys = keys.replace("DIR", &dir.path().display().to_string());
        let conf = ConfFile::parse(&RawObject::parse(&keys).unwrap()).unwrap();
        let ConfFile::Generated(generated) = conf else {
            panic!("nothing is generated");
        };
        let found = primary::find(&generated);
        assert!(matches!(found, Err(Error::Primary(_))), "{found:?}");
        std::fs::write(dir.path().join("07-torn.conf"), PRIMARY).unwrap();
        let found = primary::find(&generated).unwrap().unwrap();
        assert_eq!(found.path, dir.path().join("07-torn.conf"));
    }

    #[tokio::test]
    async fn a_shims_conf_cannot_be_named_as_the_primary() {
        let dir = tempfile::tempdir().unwrap();
        let shim = r#"{"cniVersion":"1.0.0","name":"m","type":"multus"}"#;
        std::fs::write(dir.path().join("05-old.conf"), shim).unwrap();
        let keys = r#"{"cniVersion":"1.0.0","multusConfigFile":"auto","multusMasterCNI":"05-old.conf","multusAutoconfigDir":"DIR"}"#;
        let keys = keys.replace("DIR", &dir.path().display().to_string());
        let conf = ConfFile::parse(&RawObject::parse(&keys).unwrap()).unwrap();
        let ConfFile::Generated(generated) = conf else {
            panic!("nothing is generated");
        };
        let found = primary::find(&generated);
        assert!(matches!(found, Err(Error::Own { .. })), "{found:?}");
    }

    #[tokio::test]
    async fn late_primary_network_is_found_and_watched() {
        let rig = Rig::start(tempfile::tempdir().unwrap(), r#""multusConfigFile":"auto""#);
        rig.write("10-a.conflist", PRIMARY);
        rig.says(r#""mac":true"#).await;
        rig.write(
            "10-a.conflist",
            &PRIMARY.replace("\"mac\"", "\"bandwidth\""),
        );
        rig.says(r#""capabilities":{"bandwidth":true}"#).await;
        rig.write("05-first.conflist", PRIMARY);
        rig.says("05-first.conflist").await;
    }

    #[tokio::test]
    async fn broken_or_removed_primary_keeps_last_conf() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("10-a.conflist"), PRIMARY).unwrap();
        let rig = Rig::start(dir, r#""multusConfigFile":"auto""#);
        let before = rig.says("10-a").await;
        rig.write("10-a.conflist", r#"{"cniVersion":"1.0"#);
        tokio::time::sleep(Duration::from_millis(100)).await;
        std::fs::remove_file(rig.path("10-a.conflist")).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.task.abort();
        assert_eq!(
            rig.says("10-a").await,
            before,
            "also when the daemon has ended"
        );
    }

    #[tokio::test]
    async fn primary_can_be_named_and_its_version_forced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("05-other.conf"), PRIMARY).unwrap();
        let old = PRIMARY
            .replace("1.0.0", "0.3.1")
            .replace("bridge\"", "bridge\",\"big\":12345678901234567890");
        std::fs::write(dir.path().join("20-mine.conflist"), &old).unwrap();
        let rig = Rig::start(
            dir,
            r#""multusMasterCNI":"20-mine.conflist","forceCNIVersion":true,"overrideNetworkName":true"#,
        );
        let conf = rig.says("20-mine.conflist").await;
        assert!(conf.contains(r#""name":"cbr0""#), "{conf}");
        let primary = std::fs::read_to_string(rig.path("20-mine.conflist")).unwrap();
        assert_eq!(
            primary,
            old.replace("0.3.1", "1.0.0"),
            "nothing else of it is changed"
        );
    }

    #[tokio::test]
    async fn primary_conf_of_any_version_is_accepted() {
        for version in ["0.1.0", "0.3.1", "1.1.0", ""] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(
                dir.path().join("10-a.conflist"),
                PRIMARY.replace("1.0.0", version),
            )
            .unwrap();
            let rig = Rig::start(dir, r#""multusConfigFile":"auto""#);
            rig.says(r#""cniVersion":"1.0.0""#).await;
        }
    }

    #[tokio::test]
    async fn a_file_is_copied_under_its_own_name() {
        let from = tempfile::tempdir().unwrap();
        let source = from.path().join("01-mine.conf");
        std::fs::write(&source, "{ \"any\": 1 }").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("01-mine.conf");
        let keys = format!(r#""multusConfigFile":"{}""#, source.display());
        let _rig = Rig::start(dir, &keys);
        for text in ["{ \"any\": 1 }", "{ \"any\": 2 }"] {
            std::fs::write(&source, text).unwrap();
            while std::fs::read_to_string(&to).unwrap_or_default() != text {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_an_error() {
        let open = |text: &str| {
            Provider::open(ConfFile::parse(&RawObject::parse(text).unwrap()).unwrap())
                .map(|p| p.is_some())
        };
        let error = open(r#"{"cniVersion":"1.0.0","multusAutoconfigDir":"/nonexistent"}"#);
        assert!(matches!(error, Err(Error::Watch { .. })), "{error:?}");
        let error = open(r#"{"multusConfigFile":"/nonexistent/x.conf"}"#);
        assert!(matches!(error, Err(Error::Read { .. })), "{error:?}");
        assert!(!open("{}").unwrap());
    }
}
