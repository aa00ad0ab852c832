//! The conf with which the runtime executes the shim, without a daemon that provides it.

use std::io;
use std::path::PathBuf;

use config::conf_file::ConfFile;

/// What became of the runtime's conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The daemon provides none, or it was gone.
    Absent,
    /// It was removed.
    Gone(PathBuf),
    /// It does not execute a shim, or cannot be read, so it is not the daemon's.
    Foreign(PathBuf),
}

/// Removes the conf that a daemon with this configuration provided.
///
/// # Errors
/// Those of the system.
pub(crate) fn remove(conf: &ConfFile) -> io::Result<Removed> {
    let Some(path) = conf.target() else {
        return Ok(Removed::Absent);
    };
    if path.symlink_metadata().is_err() {
        return Ok(Removed::Absent);
    }
    let executes_shim = match libcni::load::file(&path) {
        Ok(found) => conf.shims().refuse_in(&found).is_err(),
        Err(_) => false,
    };
    if !executes_shim {
        return Ok(Removed::Foreign(path));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removed::Absent),
        removed => removed.map(|()| Removed::Gone(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::json::RawObject;
    use config::conf_file::FILE_NAME;

    #[test]
    fn only_a_conf_that_executes_a_shim_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let keys = format!(
            r#"{{"cniVersion":"1.0.0","multusConfigFile":"auto","type":"own","cniConfigDir":"{}"}}"#,
            dir.path().display()
        );
        let conf = ConfFile::parse(&RawObject::parse(keys).unwrap()).unwrap();
        let path = dir.path().join(FILE_NAME);
        assert_eq!(remove(&conf).unwrap(), Removed::Absent);
        let text = |kind: &str| format!(r#"{{"cniVersion":"1.0.0","name":"n","type":"{kind}"}}"#);
        for (text, expected) in [
            (text("multus-shim"), Removed::Gone(path.clone())),
            (text("own"), Removed::Gone(path.clone())),
            (text("bridge"), Removed::Foreign(path.clone())),
            ("{".to_owned(), Removed::Foreign(path.clone())),
        ] {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(remove(&conf).unwrap(), expected, "{text}");
        }
        assert_eq!(remove(&ConfFile::Absent).unwrap(), Removed::Absent);
    }
}
