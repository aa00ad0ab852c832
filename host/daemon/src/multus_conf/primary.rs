//! The primary network's conf: which file it is, and what the generated conf needs of it.

use std::path::{Path, PathBuf};

use cni_types::conf::NetworkConfList;
use cni_types::version::ConfVersion;

use super::{Error, replace};
use crate::config::conf_file::{Generated, Primary, is_own};

/// The primary network, with its version forced where that is asked for; `None` while there is none.
///
/// The first file by name is meant even while it cannot be read, for example because it is being
/// written: pods with the wrong network are worse than pods that wait. One that executes a shim, such as
/// what Multus left behind, is passed over.
pub(super) fn find(generated: &Generated) -> Result<Option<Primary>, Error> {
    let found = match &generated.primary {
        Some(name) => named(generated, name)?,
        None => first_of(generated)?,
    };
    let Some((path, conf)) = found else {
        return Ok(None);
    };
    if generated.force_version && conf.cni_version() != generated.cni_version {
        force_version(&path, generated.cni_version)?;
    }
    Ok(Some(Primary {
        name: conf.name().to_string(),
        capabilities: capabilities(&conf),
        path,
    }))
}

fn named(generated: &Generated, name: &str) -> Result<Option<(PathBuf, NetworkConfList)>, Error> {
    let path = generated.primary_dir.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let conf = libcni::load::file(&path)?;
    match generated.shims().refuse_in(&conf) {
        Ok(()) => Ok(Some((path, conf))),
        Err(source) => Err(Error::Own { path, source }),
    }
}

/// Not `.json`, as with Multus.
fn first_of(generated: &Generated) -> Result<Option<(PathBuf, NetworkConfList)>, Error> {
    let files = libcni::load::conf_files(&generated.primary_dir, &["conf", "conflist"])?;
    let shims = generated.shims();
    for path in files.into_iter().filter(|path| !is_own(path)) {
        let conf = libcni::load::file(&path)?;
        match shims.refuse_in(&conf) {
            Ok(()) => return Ok(Some((path, conf))),
            Err(error) => {
                let error = crate::report::chain(&error);
                tracing::warn!(path = %path.display(), error, "passed over as the primary network's conf");
            }
        }
    }
    Ok(None)
}

fn capabilities(conf: &NetworkConfList) -> Vec<String> {
    conf.plugins()
        .iter()
        .flat_map(|plugin| plugin.capabilities())
        .filter(|(_, wanted)| **wanted)
        .map(|(name, _)| name.clone())
        .collect()
}

/// Rewrites `cniVersion` in somebody else's file, as its owner asked for, and nothing beside it.
fn force_version(path: &Path, version: ConfVersion) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    // The file itself, where it is a link.
    let path = path.canonicalize().map_err(failed)?;
    let text = std::fs::read(&path).map_err(failed)?;
    let mut conf = cni_types::json::RawObject::parse(text)?;
    conf.set("cniVersion", version.as_str())?;
    replace::replace(&path, conf.to_string().as_bytes()).map_err(failed)?;
    tracing::warn!(path = %path.display(), %version, "cniVersion of the primary network forced");
    Ok(())
}
