//! The files in which devices are described (device-info specification 1.1): a device plugin's, which
//! is read, and one for each attachment, which delegates read and write, and which goes when the
//! attachment goes.
//!
//! Resources, devices and networks give these files their names. A name is one component of a path,
//! whatever is in it; it is opened beneath its directory and never through a link.

mod describing;

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cni_types::json::{Document, Limits, Node};
use libcni::Root;
use serde_json::value::RawValue;

use crate::adapters::beneath::{self, component};
use crate::domain::attachment::{Device, device_info_name};
use crate::domain::entry::Entry;
use crate::ports::DeviceInfo;

pub use describing::Describing;

/// Where device plugins write.
const OF_DEVICE_PLUGINS: &str = "dp";
/// Where files of attachments are.
const OF_ATTACHMENTS: &str = "cni";
/// A description is a few lines; it ends up in an annotation.
const LIMITS: Limits = Limits {
    max_bytes: 64 << 10,
    max_depth: 16,
};

/// The directory of the files.
#[derive(Debug, Clone)]
pub struct Files {
    dir: PathBuf,
    root: Option<Root>,
}

impl Files {
    /// `dir` as delegates have it; below `root` where they have another root than the daemon.
    pub fn new(dir: PathBuf, root: Option<Root>) -> Self {
        Self { dir, root }
    }

    /// The name of a file of an attachment; `None` for a path that is none of ours.
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
            // A few system calls on a file system in memory.
            None => work(&self.dir),
            Some(root) => {
                let dir = self.dir.clone();
                root.run(move || work(&dir)).await?
            }
        }
    }

    /// Before an ADD: the file has what the device plugin says of the device, or is not there.
    async fn prepare(&self, path: &str, device: Option<&Device>) {
        let Some(name) = self.name(path) else {
            return;
        };
        let said = device.map(of_device_plugin);
        let prepared = self.run(move |dir| {
            let text = match said {
                Some(said) => beneath::read(dir, OF_DEVICE_PLUGINS, &said, LIMITS.max_bytes),
                None => Ok(None),
            };
            let usable = text.and_then(|text| match text {
                Some(text) => describes(&text).map(|_| Some(text)),
                None => Ok(None),
            });
            match usable {
                Ok(Some(text)) => beneath::write(dir, OF_ATTACHMENTS, &name, &text),
                // What an earlier attachment left is not about this one.
                Ok(None) => beneath::remove(dir, OF_ATTACHMENTS, &name),
                Err(error) => beneath::remove(dir, OF_ATTACHMENTS, &name).and(Err(error)),
            }
        });
        if let Err(error) = prepared.await {
            // An attachment does not depend on it.
            tracing::warn!(path, %error, "what the device plugin says of the device is not passed on");
        }
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        match self.name(path) {
            Some(name) => {
                self.run(move |dir| beneath::remove(dir, OF_ATTACHMENTS, &name))
                    .await
            }
            None => Ok(()),
        }
    }

    /// Where the device of an attachment is described. Multus does not write this down, but always
    /// calls it the same.
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
            let text = beneath::read(dir, OF_ATTACHMENTS, &name, LIMITS.max_bytes)?;
            text.map(|text| describes(&text)).transpose()
        });
        found.await.unwrap_or_else(|error| {
            tracing::warn!(path, %error, "what is said of the device is left out");
            None
        })
    }
}

/// What the device plugin's file is called (section 4.1).
fn of_device_plugin(device: &Device) -> String {
    component(&format!(
        "{}-{}-device.json",
        device.resource_name, device.id
    ))
}

/// A description as network-status has it: an object that says what type of device it is about.
fn describes(text: &[u8]) -> io::Result<Box<RawValue>> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let text = std::str::from_utf8(text).map_err(|error| invalid(error.to_string()))?;
    let document =
        Document::parse(text, LIMITS).map_err(|error| invalid(crate::report::chain(&error)))?;
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
