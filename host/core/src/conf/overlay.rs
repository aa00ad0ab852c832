//! Overlays the daemon's file on the conf of every request.

use std::path::PathBuf;
use std::sync::Arc;

use cni_types::json::RawObject;
use parking_lot::Mutex;

use super::net_conf::{Error, NetConf};

/// Keys of the daemon's file that override those of each conf. A runtime sends the same conf with
/// every request, so the last one is cached in its parsed form.
#[derive(Debug, Default)]
pub struct Overlay {
    overrides: RawObject,
    /// Directories to search for delegates after `binDir`.
    plugin_path: Vec<PathBuf>,
    last: Mutex<Option<Understood>>,
}

#[derive(Debug)]
struct Understood {
    text: Vec<u8>,
    conf: Arc<NetConf>,
}

impl Overlay {
    /// Overlays these keys on confs.
    pub fn new(overrides: RawObject) -> Self {
        Self {
            overrides,
            plugin_path: Vec::new(),
            last: Mutex::default(),
        }
    }

    /// Also searches these directories for delegates, after `binDir`.
    pub(crate) fn search_also(&mut self, plugin_path: Vec<PathBuf>) {
        self.plugin_path = plugin_path;
    }

    /// The settings of a request with this conf.
    ///
    /// # Errors
    /// As [`NetConf::parse`].
    pub fn conf(&self, text: &[u8]) -> Result<Arc<NetConf>, Error> {
        let mut last = self.last.lock();
        if let Some(known) = last.as_ref().filter(|known| known.text == text) {
            return Ok(Arc::clone(&known.conf));
        }
        let conf = Arc::new(self.searching(NetConf::parse(text, &self.overrides)?));
        *last = Some(Understood {
            text: text.to_owned(),
            conf: Arc::clone(&conf),
        });
        Ok(conf)
    }

    /// The settings of a request that removes, also with a conf that no ADD can have. Logs what is
    /// wrong with it.
    ///
    /// # Errors
    /// As [`NetConf::parse_for_removal`].
    pub(crate) fn conf_for_removal(&self, text: &[u8]) -> Result<Arc<NetConf>, Error> {
        if let Ok(conf) = self.conf(text) {
            return Ok(conf);
        }
        let (conf, wrong) = NetConf::parse_for_removal(text, &self.overrides)?;
        for error in wrong {
            tracing::warn!(%error, "ignoring an invalid member of the request's conf: a DEL or GC must not fail because of it");
        }
        Ok(Arc::new(self.searching(conf)))
    }

    /// The settings of a request without a conf.
    ///
    /// # Errors
    /// As [`NetConf::of_daemon`].
    pub fn own(&self) -> Result<NetConf, Error> {
        NetConf::of_daemon(&self.overrides).map(|conf| self.searching(conf))
    }

    fn searching(&self, mut conf: NetConf) -> NetConf {
        conf.bin_dirs.extend_from_slice(&self.plugin_path);
        conf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_conf_is_cached_until_it_changes() {
        let overlay = Overlay::new(RawObject::parse(r#"{"cniDir":"/ours"}"#).unwrap());
        let conf = |namespace: &str| {
            let text = format!(r#"{{"clusterNetwork":"x","multusNamespace":"{namespace}"}}"#);
            overlay.conf(text.as_bytes()).unwrap()
        };
        let first = conf("a");
        assert_eq!(first.cni_dir.to_str(), Some("/ours"));
        assert!(Arc::ptr_eq(&first, &conf("a")));
        assert_eq!(conf("b").multus_namespace, "b");
        assert_eq!(conf("a").multus_namespace, "a");
        assert!(overlay.conf(b"{").is_err());
        assert_eq!(conf("a").multus_namespace, "a");
    }
}
