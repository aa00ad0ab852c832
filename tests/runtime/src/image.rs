//! The image of every sandbox: a static busybox that sleeps, as an archive of `docker save`. Nothing
//! is downloaded.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use node::run;
use serde_json::json;

use crate::error::Error;

/// What the image is called.
pub(crate) const NAME: &str = "localhost/cnidaria-pause:test";
/// Of the package busybox-static.
const BUSYBOX: &str = "/usr/bin/busybox";

/// Makes the archive in a directory of its own.
pub(crate) fn make(dir: &Path) -> Result<PathBuf, Error> {
    let bin = dir.join("rootfs/bin");
    fs::create_dir_all(&bin).map_err(Error::file(&bin))?;
    fs::copy(BUSYBOX, bin.join("busybox")).map_err(Error::file(BUSYBOX))?;
    symlink("busybox", bin.join("sleep")).map_err(Error::file(bin.join("sleep")))?;
    let path = |name: &str| dir.join(name).display().to_string();
    let layer = path("layer.tar");
    run("tar", &["-C", &path("rootfs"), "-cf", &layer, "."])?;
    let digest = run("sha256sum", &[&layer])?;
    let digest = digest.split(' ').next().unwrap_or_default();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Entrypoint": ["/bin/sleep", "100000"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"] }]);
    for (name, value) in [("config.json", config), ("manifest.json", manifest)] {
        let file = dir.join(name);
        fs::write(&file, value.to_string()).map_err(Error::file(&file))?;
    }
    let image = path("image.tar");
    let parts = ["manifest.json", "config.json", "layer.tar"];
    let mut arguments = vec![
        "-C".to_owned(),
        dir.display().to_string(),
        "-cf".to_owned(),
        image.clone(),
    ];
    arguments.extend(parts.map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run("tar", &arguments)?;
    Ok(image.into())
}
