//! The addresses that the plugin `host-local` has reserved: a file for each, named like the address,
//! in a directory for each network below `dataDir`. The first line is the container, the second its
//! interface. Other files in the directory belong to the plugin as well: its lock, and the address
//! that it assigned last.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cni_types::args::{ContainerId, IfName, NetworkName};
use cni_types::conf::NetworkConfList;
use files::openat;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// `dataDir` unless the conf sets it.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/cni/networks";
/// The plugin's name.
const PLUGIN: &str = "host-local";
/// A file has a container id and the name of an interface.
const MAX_BYTES: usize = 1 << 10;
/// More addresses than the networks of one node have.
const MAX_FILES: usize = 1 << 16;
/// The file that the plugin locks while it changes the directory.
const LOCK: &str = "lock";

/// Where the addresses of one network are reserved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Store {
    /// `dataDir`.
    pub data_dir: PathBuf,
    /// `name` of the network's conf.
    pub network: NetworkName,
}

/// A reserved address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reservation {
    /// Where it is reserved.
    pub store: Store,
    /// The address.
    pub address: IpAddr,
    /// `CNI_CONTAINERID` of the ADD.
    pub container: ContainerId,
    /// `CNI_IFNAME` of the ADD; `None` in a file of an old plugin, or if anything follows it.
    pub if_name: Option<IfName>,
    /// When, by the file system's clock.
    pub since: Option<SystemTime>,
}

impl Store {
    /// The stores of a conf: those that its plugins name, and the default one, in which plugins that
    /// write the IPAM part themselves reserve.
    pub fn of(conf: &NetworkConfList) -> Vec<Self> {
        let named = conf.plugins().iter().filter_map(|plugin| {
            let is_host_local = plugin.ipam_type()?.as_str() == PLUGIN;
            let ipam: serde_json::Value = plugin.raw().get_as("ipam").ok().flatten()?;
            let dir = ipam.get("dataDir")?.as_str()?;
            (is_host_local && Path::new(dir).is_absolute()).then(|| PathBuf::from(dir))
        });
        let store = |data_dir| Self {
            data_dir,
            network: conf.name().clone(),
        };
        let mut stores = vec![store(PathBuf::from(DEFAULT_DATA_DIR))];
        for dir in named {
            let found = store(dir);
            if !stores.contains(&found) {
                stores.push(found);
            }
        }
        stores
    }

    /// The reserved addresses; none without a directory. Skips files that are not reservations.
    /// Follows no links below `dataDir`.
    ///
    /// # Errors
    /// The directory cannot be read, or has more files than any network has addresses.
    pub fn list(&self) -> io::Result<Vec<Reservation>> {
        let dir = self.data_dir.join(self.network.as_str());
        let found = match std::fs::read_dir(&dir) {
            Err(error) if files::is_absent(&error) => return Ok(Vec::new()),
            found => found?,
        };
        let mut reservations = Vec::new();
        for (count, file) in found.enumerate() {
            if count >= MAX_FILES {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let file = file?;
            let name = file.file_name();
            let Some(name) = name.to_str() else {
                continue;
            };
            // The plugin may remove it at any moment.
            let since = file.metadata().ok().and_then(|one| one.modified().ok());
            if let Some((address, container, if_name)) = self.read(name)? {
                reservations.push(Reservation {
                    store: self.clone(),
                    address,
                    container,
                    if_name,
                    since,
                });
            }
        }
        Ok(reservations)
    }

    /// What the file of this name reserves.
    fn read(&self, name: &str) -> io::Result<Option<(IpAddr, ContainerId, Option<IfName>)>> {
        let address = name.parse::<IpAddr>().ok();
        // The plugin writes addresses in one way only.
        let Some(address) = address.filter(|address| address.to_string() == name) else {
            return Ok(None);
        };
        let text = match openat::read(&self.data_dir, self.network.as_str(), name, MAX_BYTES) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            // A link, a directory, or far longer than a reservation.
            Err(error) if is_other(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&text);
        let (container, if_name) = match text.trim().split_once("\r\n") {
            Some((container, if_name)) => (container, IfName::new(if_name).ok()),
            None => (text.lines().next().unwrap_or_default().trim(), None),
        };
        let container = ContainerId::new(container).ok();
        Ok(container.map(|container| (address, container, if_name)))
    }
}

impl Reservation {
    /// Path of its file.
    pub fn path(&self) -> PathBuf {
        let dir = self.store.data_dir.join(self.store.network.as_str());
        dir.join(self.address.to_string())
    }

    /// Releases the address, unless it is reserved for another container now. Holds the plugin's
    /// lock, so that an ADD cannot reserve the address in between.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::WouldBlock`] while the plugin has its lock.
    pub fn release(&self) -> io::Result<bool> {
        let Store { data_dir, network } = &self.store;
        let name = self.address.to_string();
        let dir = data_dir.join(network.as_str());
        let _lock = lock(&dir.join(LOCK))?;
        match self.store.read(&name)? {
            Some((_, container, _)) if container == self.container => {
                openat::remove(data_dir, network.as_str(), &name)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

fn is_other(error: &io::Error) -> bool {
    let is_link = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    let kinds = [io::ErrorKind::InvalidInput, io::ErrorKind::FileTooLarge];
    is_link || kinds.contains(&error.kind())
}

/// Takes the lock as the plugin does: `flock` on the file, created if it is missing.
fn lock(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::openat(rustix::fs::CWD, path, flags | OFlags::NONBLOCK, mode)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Rig(tempfile::TempDir);

    impl Rig {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("blue")).unwrap();
            Self(dir)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join("blue").join(name), text).unwrap();
        }

        fn store(&self) -> Store {
            Store {
                data_dir: self.0.path().to_owned(),
                network: NetworkName::new("blue").unwrap(),
            }
        }

        fn list(&self) -> Vec<Reservation> {
            self.store().list().unwrap()
        }
    }

    #[test]
    fn only_files_of_addresses_are_reservations() {
        let rig = Rig::new();
        rig.write("10.0.0.2", "c\r\neth0");
        rig.write("fd00::2", "c");
        rig.write("last_reserved_ip.0", "10.0.0.2");
        rig.write("lock", "");
        rig.write("10.0.0.3", "");
        rig.write("10.0.0.4", &"x".repeat(2 * MAX_BYTES));
        let blue = rig.0.path().join("blue");
        std::os::unix::fs::symlink("10.0.0.2", blue.join("10.0.0.5")).unwrap();
        fs::create_dir(blue.join("10.0.0.6")).unwrap();
        rig.write("10.0.0.7", "c\r\neth0\r\nmore");
        let mut found: Vec<String> = rig
            .list()
            .into_iter()
            .map(|one| {
                format!(
                    "{} {} {:?}",
                    one.address,
                    one.container,
                    one.if_name.map(|name| name.to_string())
                )
            })
            .collect();
        found.sort();
        let expected = [
            r#"10.0.0.2 c Some("eth0")"#,
            "10.0.0.7 c None",
            "fd00::2 c None",
        ];
        assert_eq!(found, expected);
        let other = Store {
            network: NetworkName::new("red").unwrap(),
            ..rig.store()
        };
        assert_eq!(other.list().unwrap(), []);
    }

    #[test]
    fn an_address_reserved_anew_is_not_released() {
        let rig = Rig::new();
        rig.write("10.0.0.2", "old\r\neth0");
        let found = rig.list();
        rig.write("10.0.0.2", "new\r\neth0");
        assert!(!found[0].release().unwrap());
        assert!(found[0].path().exists());
        assert!(rig.list()[0].release().unwrap());
        assert!(!found[0].path().exists());
    }

    #[test]
    fn nothing_is_released_while_the_plugin_works() {
        let rig = Rig::new();
        rig.write("10.0.0.2", "old\r\neth0");
        let _held = lock(&rig.0.path().join("blue/lock")).unwrap();
        let error = rig.list()[0].release().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn stores_are_the_default_and_the_named_ones() {
        let conf = |ipam: &str| {
            let text =
                format!(r#"{{"cniVersion":"1.0.0","name":"blue","type":"t","ipam":{ipam}}}"#);
            let stores = Store::of(&NetworkConfList::parse_any(text).unwrap());
            let dirs = stores.into_iter().map(|one| one.data_dir);
            dirs.map(|dir| dir.display().to_string())
                .collect::<Vec<_>>()
        };
        let named = r#"{"type":"host-local","dataDir":"/run/ipam"}"#;
        assert_eq!(conf(named), [DEFAULT_DATA_DIR, "/run/ipam"]);
        for other in [
            r#"{"type":"host-local"}"#,
            r#"{"type":"host-local","dataDir":"run"}"#,
            r#"{"type":"dhcp","dataDir":"/run/ipam"}"#,
            "{}",
        ] {
            assert_eq!(conf(other), [DEFAULT_DATA_DIR], "{other}");
        }
    }
}
