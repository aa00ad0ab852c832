//! The primary network's conf: finds the file, and extracts what the generated conf needs.

use std::path::{Path, PathBuf};

use cni_types::conf::NetworkConfList;
use cni_types::version::ConfVersion;

use super::{Error, replace};
use cnidaria_core::domain::shim::is_own_conf;
use files::Links;
use libcni::load::MAX_BYTES;

use config::conf_file::{Generated, Primary};

/// Finds the primary network and, if configured, forces its version; `None` while no conf exists.
///
/// Never skips the first file by name because it is unreadable, for example half-written: pods that
/// wait are better than pods with the wrong network. Skips confs that execute a shim, such as
/// Multus' leftovers.
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

/// Without `.json` files, as in Multus.
fn first_of(generated: &Generated) -> Result<Option<(PathBuf, NetworkConfList)>, Error> {
    let files = libcni::load::conf_files(&generated.primary_dir, &["conf", "conflist"])?;
    let shims = generated.shims();
    for path in files.into_iter().filter(|path| !is_own_conf(path)) {
        let conf = libcni::load::file(&path)?;
        match shims.refuse_in(&conf) {
            Ok(()) => return Ok(Some((path, conf))),
            Err(error) => {
                let error = cnidaria_core::report::chain(&error);
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

/// Rewrites only `cniVersion` in the primary network's file, as its owner configured.
fn force_version(path: &Path, version: ConfVersion) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    // If the path is a link, write to its target.
    let path = path.canonicalize().map_err(failed)?;
    let text = files::read(&path, Links::Follow, MAX_BYTES).map_err(failed)?;
    let mut conf = cni_types::json::RawObject::parse(text)?;
    conf.set("cniVersion", version.as_str())?;
    replace::replace(&path, conf.to_string().as_bytes()).map_err(failed)?;
    tracing::warn!(path = %path.display(), %version, "cniVersion of the primary network forced");
    Ok(())
}
