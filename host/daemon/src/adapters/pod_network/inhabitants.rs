//! What is in network namespaces: processes and addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use shim_api::deferred::NetnsId;

use super::identity::is_absent;

/// Where runtimes and `ip netns` name namespaces.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];
/// More namespaces than a node has.
const MAX_NAMESPACES: usize = 1 << 14;

/// Whether a process of the node is in this namespace.
///
/// # Errors
/// `/proc` cannot be read, or not all of it.
pub(super) fn has_process(namespace: NetnsId) -> io::Result<bool> {
    for path in of_processes()? {
        match std::fs::metadata(&path) {
            Ok(metadata) if NetnsId::of(&metadata) == namespace => return Ok(true),
            Ok(_) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// A path for each network namespace that has a process or a name.
///
/// # Errors
/// As [`has_process`]; there are too many.
pub(super) fn all() -> io::Result<Vec<PathBuf>> {
    let mut found: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    // Names first: a process may end before its namespace is visited.
    for path in named()?.into_iter().chain(of_processes()?) {
        let id = match std::fs::metadata(&path) {
            Ok(metadata) => key(&metadata),
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error),
        };
        found.entry(id).or_insert(path);
        if found.len() > MAX_NAMESPACES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    Ok(found.into_values().collect())
}

fn key(metadata: &std::fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

fn named() -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for dir in NAMED {
        match std::fs::read_dir(dir) {
            Ok(files) => {
                for file in files {
                    paths.push(file?.path());
                }
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(paths)
}

fn of_processes() -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for process in std::fs::read_dir("/proc")? {
        let name = process?.file_name();
        let is_process = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        if is_process {
            paths.push(Path::new("/proc").join(name).join("ns/net"));
        }
    }
    Ok(paths)
}

/// Whether an interface of the current namespace has an address: only then a socket can be bound to
/// it.
pub(super) fn has_address(address: IpAddr) -> io::Result<bool> {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(true),
        Err(error) => {
            let errno = error.raw_os_error().map(Errno::from_raw_os_error);
            match errno {
                // The second is the answer of a namespace without IPv6.
                Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => Ok(false),
                _ => Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_inhabited() {
        let own = NetnsId::at(Path::new("/proc/self/ns/net")).unwrap();
        assert!(has_process(own).unwrap_or(true));
        let other = NetnsId::at(Path::new("/")).unwrap();
        // Without the right to look at all processes, it is not known.
        assert!(!has_process(other).unwrap_or(false));
    }

    #[test]
    fn only_own_addresses_can_be_bound() {
        assert!(has_address("127.0.0.1".parse().unwrap()).unwrap());
        assert!(!has_address("192.0.2.1".parse().unwrap()).unwrap());
        assert!(!has_address("2001:db8::1".parse().unwrap()).unwrap());
    }
}
