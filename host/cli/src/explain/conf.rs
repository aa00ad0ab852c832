//! The conf with which the runtime executes the shim.

use std::path::{Path, PathBuf};

use cni_types::conf::{NetworkConfList, PluginConf};
use libcni::load;

/// Names of the shim's binary.
const SHIMS: [&str; 2] = ["multus-shim", "cnidaria-shim"];

/// The runtime's usual directory, as the DaemonSet's container and the node see it.
const DIRECTORIES: [&str; 2] = ["/host/etc/cni/net.d", "/etc/cni/net.d"];

/// Why the runtime's conf cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A file cannot be read or is malformed.
    #[error(transparent)]
    Load(#[from] load::Error),
    /// No conf executes the shim.
    #[error(
        "no conf in {} executes {}: name the runtime's conf with --cni-conf",
        directory.display(), SHIMS.join(" or ")
    )]
    NoShim {
        /// The searched directory, or the file.
        directory: PathBuf,
    },
    /// The plugin's conf cannot be completed.
    #[error(transparent)]
    Json(#[from] cni_types::json::Error),
}

/// What the runtime gives the shim on standard input, from the conf or directory at `path`.
///
/// # Errors
/// [`Error`].
pub(super) fn of_runtime(path: Option<&Path>) -> Result<Vec<u8>, Error> {
    let usual = || {
        let mut usual = DIRECTORIES.iter().map(Path::new);
        usual.clone().find(|dir| dir.is_dir()).or(usual.next_back())
    };
    let path = path.or_else(usual).unwrap_or(Path::new("."));
    let files = match path.is_dir() {
        true => load::conf_files(path, &load::EXTENSIONS)?,
        false => vec![path.to_owned()],
    };
    let is_only = files.len() == 1;
    for file in files {
        // Another network's damaged conf does not matter.
        let list = match load::file(&file) {
            Err(error) if is_only => return Err(error.into()),
            Err(_) => continue,
            Ok(list) => list,
        };
        if let Some(plugin) = shim_of(&list) {
            let conf = libcni::request::network(&list, plugin)?;
            return Ok(conf.to_string().into_bytes());
        }
    }
    Err(Error::NoShim {
        directory: path.to_owned(),
    })
}

fn shim_of(list: &NetworkConfList) -> Option<&PluginConf> {
    let mut plugins = list.plugins().iter();
    plugins.find(|plugin| SHIMS.contains(&plugin.plugin_type().as_str()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn first_conf_with_a_shim_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("00-broken.conf", "{");
        write(
            "10-bridge.conf",
            r#"{"cniVersion":"1.0.0","name":"b","type":"bridge"}"#,
        );
        let of_runtime = || of_runtime(Some(dir.path()));
        assert!(matches!(of_runtime().unwrap_err(), Error::NoShim { .. }));
        write(
            "20-list.conflist",
            r#"{"cniVersion":"1.0.0","name":"l","plugins":[{"type":"multus-shim","clusterNetwork":"b"}]}"#,
        );
        write(
            "30-late.conf",
            r#"{"cniVersion":"1.0.0","name":"late","type":"cnidaria-shim"}"#,
        );
        let conf: serde_json::Value = serde_json::from_slice(&of_runtime().unwrap()).unwrap();
        assert_eq!(conf["name"], "l");
        assert_eq!(conf["clusterNetwork"], "b");
    }
}
