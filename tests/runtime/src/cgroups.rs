//! This machine's cgroups of a runtime's containers. A private node has no cgroup tree of its own.

use std::fs;
use std::path::Path;

/// The runtime's cgroup, in every hierarchy of this machine.
pub(crate) const CGROUP: &str = "/cnidaria-runtime-tests";

/// Removes the group's empty cgroups, in every hierarchy.
pub(crate) fn remove(group: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let name = group.trim_start_matches('/');
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten();
    for hierarchy in hierarchies {
        remove_groups(&hierarchy.path().join(name));
    }
    remove_groups(&root.join(name));
}

fn remove_groups(group: &Path) {
    let inside = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in inside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_groups(&entry.path());
    }
    let _ = fs::remove_dir(group);
}
