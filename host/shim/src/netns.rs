//! Looks into a pod's network namespace.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use cni_types::args::Parameters;
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The network namespace of this process.
pub(crate) const OWN: &str = "/proc/thread-self/ns/net";
/// The interfaces in it.
const INTERFACES: &str = "/proc/thread-self/net/dev";

/// Whether the interface of a call is in the call's namespace. If that cannot be found out, it is.
pub(crate) fn has_interface(parameters: &Parameters) -> bool {
    let (Some(netns), Some(if_name)) = (&parameters.netns, &parameters.if_name) else {
        return false;
    };
    // A FIFO at the path would stall the call otherwise.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(namespace) = rustix::fs::open(netns.as_str(), flags, Mode::empty()) else {
        return false;
    };
    looked(&namespace.into(), if_name.as_str()).unwrap_or(true)
}

fn looked(namespace: &File, if_name: &str) -> io::Result<bool> {
    let home = File::open(OWN)?;
    let identity = |file: &File| file.metadata().map(|it| (it.dev(), it.ino()));
    if identity(&home)? == identity(namespace)? {
        // Not a pod's.
        return Ok(false);
    }
    let kind = Some(LinkNameSpaceType::Network);
    match move_into_link_name_space(namespace.as_fd(), kind) {
        // Something else is at the path.
        Err(rustix::io::Errno::INVAL) => return Ok(false),
        entered => entered?,
    }
    let mut interfaces = String::new();
    let read = File::open(INTERFACES).and_then(|mut file| file.read_to_string(&mut interfaces));
    move_into_link_name_space(home.as_fd(), kind)?;
    read?;
    let mut names = interfaces.lines().filter_map(|line| line.split_once(':'));
    Ok(names.any(|(name, _)| name.trim() == if_name))
}
