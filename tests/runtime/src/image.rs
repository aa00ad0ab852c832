//! Every sandbox's image: a static busybox that sleeps. Nothing is downloaded.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use node::run;

use crate::error::Error;

/// The image's name.
pub(crate) const NAME: &str = "localhost/cnidaria-pause:test";
/// From the package busybox-static.
const BUSYBOX: &str = "/usr/bin/busybox";
/// The script that also packs the project's own image.
const PACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/image/pack");

/// Creates the archive in its own directory.
pub(crate) fn make(dir: &Path) -> Result<PathBuf, Error> {
    let root = root_directory(dir)?;
    let archive = dir.join("image.tar");
    let [root, image] = [&root, &archive].map(|path| path.display().to_string());
    run(PACK, &[NAME, &root, &image, "/bin/sleep", "100000"])?;
    Ok(archive)
}

/// Creates the image's content as a directory.
pub(crate) fn root_directory(dir: &Path) -> Result<PathBuf, Error> {
    let root = dir.join("rootfs");
    let bin = root.join("bin");
    fs::create_dir_all(&bin).map_err(Error::file(&bin))?;
    fs::copy(BUSYBOX, bin.join("busybox")).map_err(Error::file(BUSYBOX))?;
    symlink("busybox", bin.join("sleep")).map_err(Error::file(bin.join("sleep")))?;
    Ok(root)
}
