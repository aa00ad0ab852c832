//! Conf files of the node, loaded by libcni, and files of other daemons, awaited by inotify.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use cni_types::conf::NetworkConfList;
use cnidaria_core::ports::{NodeFiles, NodeFilesError};
use libcni::load::{self, Files};

use crate::watch;

/// The node's file system.
#[derive(Debug, Default)]
pub struct ConfFiles {
    /// Files that are loaded repeatedly, such as the default network's.
    cache: Files,
}

#[async_trait]
impl NodeFiles for ConfFiles {
    fn file(&self, path: &Path) -> Result<NetworkConfList, NodeFilesError> {
        self.cache.file(path).map_err(unusable)
    }

    fn by_name(&self, dir: &Path, name: &str) -> Result<NetworkConfList, NodeFilesError> {
        load::by_name(dir, name).map_err(|error| match error {
            load::Error::NotFound {
                directory,
                name,
                broken,
            } if broken.is_empty() => NodeFilesError::NotFound {
                dir: directory,
                name,
            },
            error => unusable(error),
        })
    }

    fn first(
        &self,
        dir: &Path,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<NetworkConfList, NodeFilesError> {
        let found = load::default_network(dir, wanted).map_err(unusable)?;
        Ok(found.1)
    }

    fn with_plugins_beside(
        &self,
        list: NetworkConfList,
        dir: &Path,
    ) -> Result<NetworkConfList, NodeFilesError> {
        load::with_plugins_beside(list, dir).map_err(unusable)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    async fn appears(&self, file: &Path, patience: Duration) -> bool {
        match tokio::time::timeout(patience, watch::exists(file)).await {
            Ok(Ok(())) => true,
            // Checked even if the watch failed, most likely because inotify watches are exhausted.
            _ => file.exists(),
        }
    }
}

fn unusable(error: load::Error) -> NodeFilesError {
    NodeFilesError::Unusable(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::json::RawObject;
    use cnidaria_core::conf::net_conf::NetConf;
    use cnidaria_core::report::chain;
    use cnidaria_core::stages::network_lookup::{at_path, auxiliary_chain};
    use cnidaria_core::stages::readiness::await_indicator;

    fn conf(text: &str) -> NetConf {
        NetConf::of_daemon(&RawObject::parse(text).unwrap()).unwrap()
    }

    fn indicated_by(file: &Path) -> NetConf {
        conf(&format!(
            r#"{{"readinessindicatorfile":"{}"}}"#,
            file.display()
        ))
    }

    #[test]
    fn a_directory_is_its_first_conf_but_our_own() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, network: &str| {
            let text = format!(r#"{{"cniVersion":"1.0.0","name":"{network}","type":"t"}}"#);
            std::fs::write(dir.path().join(name), text).unwrap();
        };
        let conf = conf(r#"{"type":"own"}"#);
        let files = ConfFiles::default();
        let name = || at_path(dir.path(), &conf, &files).unwrap().name;
        write("00-multus.conf", "ours");
        write("20-b.json", "b");
        assert_eq!(name(), "b");
        write("10-a.conf", "a");
        assert_eq!(name(), "a");
        std::fs::write(dir.path().join("05-broken.conflist"), "{").unwrap();
        assert_eq!(name(), "a");
        for (file, shim) in [("06-old.conf", "multus"), ("07-copy.conf", "own")] {
            let text = format!(r#"{{"cniVersion":"1.0.0","name":"x","type":"{shim}"}}"#);
            std::fs::write(dir.path().join(file), text).unwrap();
            assert_eq!(name(), "a");
        }
    }

    #[test]
    fn an_unusable_file_is_named_with_its_cause() {
        let dir = tempfile::tempdir().unwrap();
        let broken = dir.path().join("10-a.conf");
        let files = ConfFiles::default();
        let missing = files.by_name(dir.path(), "a").unwrap_err();
        assert!(matches!(missing, NodeFilesError::NotFound { .. }));
        std::fs::write(&broken, r#"{"name":"a"}"#).unwrap();
        for error in [files.file(&broken), files.by_name(dir.path(), "a")] {
            let error = error.unwrap_err();
            assert!(matches!(error, NodeFilesError::Unusable(_)), "{error:?}");
            let text = chain(&error);
            assert!(
                text.contains("10-a.conf") && text.contains("type"),
                "{text}"
            );
        }
    }

    #[test]
    fn auxiliary_chain_is_loaded_from_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let conf = conf(&format!(
            r#"{{"cniVersion":"1.0.0","clusterNetwork":"{at}/10-a.conf","auxiliaryCNIChainName":"aux"}}"#
        ));
        let files = ConfFiles::default();
        let none = auxiliary_chain(&conf, &files).unwrap();
        assert!(none.is_none(), "without plugins");
        std::fs::create_dir(dir.path().join("aux")).unwrap();
        let plugin = r#"{"type":"tuning","sysctl":{"a":"1"}}"#;
        std::fs::write(dir.path().join("aux/10-tuning.conf"), plugin).unwrap();
        let found = auxiliary_chain(&conf, &files).unwrap().unwrap();
        assert_eq!(found.name, "aux");
        let types: Vec<_> = found
            .conf
            .plugins()
            .iter()
            .map(|p| p.plugin_type().as_str())
            .collect();
        assert_eq!(types, ["passthru", "tuning"]);
        assert!(found.conf.text().contains(plugin), "{}", found.conf.text());
    }

    #[tokio::test]
    async fn an_indicator_that_appears_in_time_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ready");
        let (conf, files) = (indicated_by(&file), ConfFiles::default());
        let minute = Duration::from_secs(60);
        let (ready, ()) = tokio::join!(await_indicator(&conf, &files, minute), async {
            tokio::task::yield_now().await;
            std::fs::write(&file, "").unwrap();
        });
        ready.unwrap();
        let now = await_indicator(&conf, &files, Duration::ZERO);
        now.await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_indicator_is_named() {
        let conf = indicated_by(Path::new("/nonexistent/ready"));
        let files = ConfFiles::default();
        let waited = await_indicator(&conf, &files, Duration::from_millis(5)).await;
        let error = waited.unwrap_err().to_string();
        assert!(error.contains("/nonexistent/ready"), "{error}");
    }
}
