//! Finds the daemon's socket directory: as configured, or where a node or the daemon's own container
//! has it.

use std::path::{Path, PathBuf};

use config::daemon::{DEFAULT_PATH, DaemonConfig};
use shim_api::endpoint::{DEFAULT_SOCKET_DIR, socket_path};

/// Where the DaemonSet mounts the node's /run.
const IN_CONTAINER: &str = "/host/run/multus/";

/// The directory that `given` names; otherwise the first of these that has a socket: that of the
/// daemon's configuration, the default one, and the default one as the DaemonSet's container sees
/// it. Without any socket, the configured or the default one.
pub fn find(given: Option<&Path>) -> PathBuf {
    if let Some(given) = given {
        return given.to_owned();
    }
    let configured = DaemonConfig::load(Path::new(DEFAULT_PATH));
    let configured = configured.ok().map(|config| config.socket_dir);
    first_with_socket(configured, Path::new("/"))
}

fn first_with_socket(configured: Option<PathBuf>, root: &Path) -> PathBuf {
    let usual = [DEFAULT_SOCKET_DIR, IN_CONTAINER].map(|dir| below(root, dir));
    let candidates: Vec<PathBuf> = configured.into_iter().chain(usual).collect();
    let has_socket = |dir: &&PathBuf| socket_path(dir).symlink_metadata().is_ok();
    let found = candidates.iter().find(has_socket).or(candidates.first());
    found.cloned().unwrap_or_default()
}

fn below(root: &Path, dir: &str) -> PathBuf {
    root.join(dir.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_in_the_container() {
        let root = tempfile::tempdir().unwrap();
        let usual = below(root.path(), DEFAULT_SOCKET_DIR);
        let inside = below(root.path(), IN_CONTAINER);
        let configured = root.path().join("configured");
        let make = |dir: &Path| {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(socket_path(dir), "").unwrap();
        };
        assert_eq!(first_with_socket(None, root.path()), usual);
        let found = first_with_socket(Some(configured.clone()), root.path());
        assert_eq!(found, configured);
        make(&inside);
        assert_eq!(first_with_socket(None, root.path()), inside);
        let found = first_with_socket(Some(configured.clone()), root.path());
        assert_eq!(found, inside, "nothing serves the configured one");
        make(&configured);
        let found = first_with_socket(Some(configured.clone()), root.path());
        assert_eq!(found, configured);
    }

    #[test]
    fn a_given_directory_is_not_searched_for() {
        let given = Path::new("/nonexistent/x");
        assert_eq!(find(Some(given)), given);
    }
}
