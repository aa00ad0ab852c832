//! Files that describe devices (device-info specification 1.1). Device plugins' files are read
//! only; each attachment's own file is read and written by its delegates, and removed with it.
//!
//! Resources, devices and networks name these files. Any name becomes a single path component, is
//! opened beneath its directory, and never through a link.

mod describing;

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cni_types::json::{Document, Limits, Node};
use libcni::Root;
use serde_json::value::RawValue;

use files::openat;

use crate::adapters::file_name::component;
use cnidaria_core::domain::attachment::{Device, device_info_name};
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::ports::DeviceInfo;

pub use describing::Describing;

/// Where device plugins write.
const OF_DEVICE_PLUGINS: &str = "dp";
/// Where attachments' files are.
const OF_ATTACHMENTS: &str = "cni";
/// A description is a few lines, and is copied into an annotation.
const LIMITS: Limits = Limits {
    max_bytes: 64 << 10,
    max_depth: 16,
};

/// The directory of device-info files.
#[derive(Debug, Clone)]
pub struct Files {
    dir: PathBuf,
    root: Option<Root>,
}

impl Files {
    /// `dir` is the path that delegates use; below `root` if their root directory is not the
    /// daemon's.
    pub fn new(dir: PathBuf, root: Option<Root>) -> Self {
        Self { dir, root }
    }

    /// The name of an attachment's file; `None` for paths outside the directory.
    fn name(&self, path: &str) -> Option<String> {
        let path = Path::new(path);
        let ours = path.parent() == Some(&self.dir.join(OF_ATTACHMENTS));
        path.file_name()
            .filter(|_| ours)
            .and_then(|name| name.to_str())
            .map(ToOwned::to_owned)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match &self.root {
            // A few system calls on a tmpfs need no other thread.
            None => work(&self.dir),
            Some(root) => {
                let dir = self.dir.clone();
                root.run(move || work(&dir)).await?
            }
        }
    }

    /// Before an ADD, copies the device plugin's description of the device, or removes a stale
    /// file.
    async fn prepare(&self, path: &str, device: Option<&Device>) {
        let Some(name) = self.name(path) else {
            return;
        };
        let source = device.map(of_device_plugin);
        let prepared = self.run(move |dir| {
            let text = match source {
                Some(source) => openat::read(dir, OF_DEVICE_PLUGINS, &source, LIMITS.max_bytes),
                None => Ok(None),
            };
            let usable = text.and_then(|text| match text {
                Some(text) => describes(&text).map(|_| Some(text)),
                None => Ok(None),
            });
            match usable {
                Ok(Some(text)) => openat::write(dir, OF_ATTACHMENTS, &name, &text),
                // A file of an earlier attachment describes another device.
                Ok(None) => openat::remove(dir, OF_ATTACHMENTS, &name),
                Err(error) => openat::remove(dir, OF_ATTACHMENTS, &name).and(Err(error)),
            }
        });
        if let Err(error) = prepared.await {
            // An attachment works without it.
            tracing::warn!(path, %error, "cannot use the device plugin's device info; delegates do not receive it");
        }
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        match self.name(path) {
            Some(name) => {
                self.run(move |dir| openat::remove(dir, OF_ATTACHMENTS, &name))
                    .await
            }
            None => Ok(()),
        }
    }

    /// Path of the file for a recorded attachment. Multus does not record it, but always names it
    /// the same way.
    fn of_entry(&self, entry: &Entry) -> Option<String> {
        let derived = || {
            let known = entry.device.is_some() || entry.capability_args.contains_key("deviceID");
            let Entry {
                network,
                container_id,
                if_name,
                ..
            } = entry;
            known.then(|| self.path(&device_info_name(network, container_id, if_name)))
        };
        entry.device_info_file().or_else(derived)
    }
}

#[async_trait]
impl DeviceInfo for Files {
    fn path(&self, name: &str) -> String {
        let dir = self.dir.join(OF_ATTACHMENTS);
        dir.join(component(name)).display().to_string()
    }

    async fn read(&self, path: &str) -> Option<Box<RawValue>> {
        let name = self.name(path)?;
        let found = self.run(move |dir| {
            let text = openat::read(dir, OF_ATTACHMENTS, &name, LIMITS.max_bytes)?;
            text.map(|text| describes(&text)).transpose()
        });
        found.await.unwrap_or_else(|error| {
            tracing::warn!(path, %error, "cannot read the attachment's device info; network-status omits it");
            None
        })
    }
}

/// Name of the device plugin's file (section 4.1).
fn of_device_plugin(device: &Device) -> String {
    component(&format!(
        "{}-{}-device.json",
        device.resource_name, device.id
    ))
}

/// Parses a description for network-status: an object that names its device type.
fn describes(text: &[u8]) -> io::Result<Box<RawValue>> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let text = std::str::from_utf8(text).map_err(|error| invalid(error.to_string()))?;
    let document = Document::parse(text, LIMITS)
        .map_err(|error| invalid(cnidaria_core::report::chain(&error)))?;
    let kind = match document.root() {
        Node::Object(members) => members.iter().find(|(key, _)| key == "type"),
        _ => None,
    };
    match kind.map(|(_, kind)| kind.get_as::<String>()) {
        Some(Ok(_)) => Ok(document.to_raw()),
        _ => Err(invalid("no device information: it has no type".to_owned())),
    }
}

#[cfg(test)]
mod tests;
