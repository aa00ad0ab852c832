//! The file system of a simulated node: it has the conf of the default network, and nothing else.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use cni_types::conf::NetworkConfList;
use cnidaria_core::ports::{NodeFiles, NodeFilesError};

use super::World;
use super::request::DEFAULT_CONF;

#[async_trait]
impl NodeFiles for World {
    fn file(&self, path: &Path) -> Result<NetworkConfList, NodeFilesError> {
        if path == Path::new(DEFAULT_CONF) {
            let conf = NetworkConfList::parse_any(&self.default);
            return conf.map_err(|error| NodeFilesError::Unusable(error.into()));
        }
        let reason = format!("cannot read {path:?}: the simulated node has no such file");
        Err(NodeFilesError::Unusable(reason.into()))
    }

    fn by_name(&self, dir: &Path, name: &str) -> Result<NetworkConfList, NodeFilesError> {
        Err(NodeFilesError::NotFound {
            dir: dir.to_owned(),
            name: name.to_owned(),
        })
    }

    fn first(
        &self,
        dir: &Path,
        _: &dyn Fn(&Path) -> bool,
    ) -> Result<NetworkConfList, NodeFilesError> {
        self.file(dir)
    }

    fn with_plugins_beside(
        &self,
        list: NetworkConfList,
        _: &Path,
    ) -> Result<NetworkConfList, NodeFilesError> {
        Ok(list)
    }

    fn is_dir(&self, _: &Path) -> bool {
        false
    }

    async fn appears(&self, _: &Path, _: Duration) -> bool {
        false
    }
}
