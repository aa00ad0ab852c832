//! Which addresses the node's interfaces have, in any network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::thread::LinkNameSpaceType;

/// Where runtimes and `ip netns` name namespaces.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// Those of `addresses` that an interface has. A namespace that cannot be entered counts as empty.
pub(super) fn in_use(addresses: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    if addresses.is_empty() {
        return BTreeSet::new();
    }
    // Its own thread: the namespace of the others stays as it is.
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| look(addresses));
        looking.join().unwrap_or_default()
    })
}

fn look(addresses: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    for path in namespaces() {
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let kind = Some(LinkNameSpaceType::Network);
        if rustix::thread::move_into_link_name_space(file.as_fd(), kind).is_err() {
            continue;
        }
        let rest = addresses.difference(&found).copied();
        // A socket can only be bound to an address that an interface has.
        let here: Vec<_> = rest
            .filter(|address| UdpSocket::bind((*address, 0)).is_ok())
            .collect();
        found.extend(here);
        if found.len() == addresses.len() {
            break;
        }
    }
    found
}

/// A path for each network namespace that has a name or a process.
fn namespaces() -> impl Iterator<Item = PathBuf> {
    let mut found: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let named = NAMED.iter().flat_map(|dir| paths(Path::new(dir)));
    let of_processes = paths(Path::new("/proc")).filter(|path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
    });
    let of_processes = of_processes.map(|path| path.join("ns/net"));
    for path in named.chain(of_processes) {
        if let Ok(metadata) = path.metadata() {
            found
                .entry((metadata.dev(), metadata.ino()))
                .or_insert(path);
        }
    }
    found.into_values()
}

fn paths(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.map(|file| file.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_node_are_in_use() {
        let [own, other] = ["127.0.0.1", "192.0.2.1"].map(|text| text.parse().unwrap());
        let found = in_use(&[own, other].into());
        // Entering a namespace, even the own one, takes a capability.
        let may_enter = rustix::thread::capabilities(None).is_ok_and(|sets| {
            sets.effective
                .contains(rustix::thread::CapabilitySet::SYS_ADMIN)
        });
        let expected: &[IpAddr] = if may_enter { &[own] } else { &[] };
        assert_eq!(found, expected.iter().copied().collect());
    }
}
