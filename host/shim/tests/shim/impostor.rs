//! Another user listens on the socket.

use crate::rig::{Daemon, Node, result};

#[test]
fn another_users_daemon_gets_no_request() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can have another user listen.
    }
    for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        let node = Node::call(command);
        let daemon = Daemon::start_as(1234, &node.socket_dir(), vec![result("{}")]);
        let failure = node.run().failure();
        let text = format!("{} {}", failure.msg, failure.details);
        assert!(text.contains("user 1234 listens"), "{command}: {text}");
        assert!(daemon.received().is_empty(), "{command}");
    }
}
