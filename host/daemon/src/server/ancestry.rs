//! Recognises peers that are delegates of this daemon. The kernel's process data is used, so a
//! delegate's name and environment do not matter.

use std::fs;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::net::UnixStream;

/// Whether the peer is a delegate of this daemon, or was executed by one in its process group: a
/// shim under some other name, whose request would wait for itself.
pub(super) fn is_by_delegate(stream: &UnixStream) -> bool {
    // A peer outside of this PID namespace has pid 0.
    let peer = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let Some(group) = peer.and_then(group_of) else {
        return false;
    };
    // A delegate leads its own process group; the daemon's other children stay in the daemon's.
    Some(group) != group_of(rustix::process::getpid().as_raw_pid()) && has_child_in(group)
}

/// The process group of a process; `None` if it is in another PID namespace.
fn group_of(pid: i32) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    group_in(&text)
}

/// Parses the fifth field of `/proc/PID/stat` (proc(5)). The second one is a name in brackets,
/// which may itself contain brackets and spaces.
fn group_in(stat: &str) -> Option<Pid> {
    let (_, fields) = stat.rsplit_once(')')?;
    let group = fields.split_ascii_whitespace().nth(2)?;
    Pid::from_raw(group.parse().ok()?)
}

/// Whether a child of this process is in the group, running or not yet reaped.
fn has_child_in(group: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pgid(Some(group)), look).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_that_leads_a_group_is_found() {
        let mut child = Command::new("sleep")
            .arg("60")
            .process_group(0)
            .spawn()
            .unwrap();
        let group = group_of(child.id().try_into().unwrap()).unwrap();
        assert_eq!(group.as_raw_pid().unsigned_abs(), child.id());
        assert!(has_child_in(group));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!has_child_in(group));
    }

    #[test]
    fn no_name_of_a_program_moves_the_field() {
        let group = |stat| group_in(stat).map(Pid::as_raw_pid);
        assert_eq!(group("7 (a) S 1 2 3) S 1 9 9 0"), Some(9));
        assert_eq!(group("7 (a) S 0 0 0 0"), None);
        assert_eq!(group(""), None);
    }
}
