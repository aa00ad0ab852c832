//! `cnidaria log` against canned answers.

use shim_api::endpoint;

use super::node::Node;

#[test]
fn levels_are_shown_and_changed() {
    let node = Node::serving(
        endpoint::LOG,
        200,
        r#"{"configured":"warning","level":"warning"}"#,
    );
    assert_eq!(node.run(&["log"]).success(), "warning\n");
    let changed = r#"{"configured":"warning","level":"error","modules":{"cnidaria_kube":"debug"}}"#;
    for arguments in [
        &["log", "error,cnidaria_kube=debug"][..],
        &["log", "--reset"],
    ] {
        let request = format!("POST {} HTTP/1.1\r\n", endpoint::LOG);
        let node = Node::serving_all([(request, 200, changed.to_owned())]);
        assert_eq!(
            node.run(arguments).success(),
            "error\ncnidaria_kube=debug\nuntil the daemon restarts; configured is warning\n"
        );
    }
}

#[test]
fn a_refused_level_is_explained() {
    let answer =
        r#"{"code":7,"msg":"\"loud\" is not one of panic, error, warning, verbose and debug"}"#;
    let request = format!("POST {} HTTP/1.1\r\n", endpoint::LOG);
    let node = Node::serving_all([(request, 400, answer.to_owned())]);
    let message = node.run(&["log", "loud"]).failure();
    assert!(message.contains("is not one of panic"), "{message}");
    let refused = Node::idle().run(&["log", "debug,debug"]);
    assert_eq!(refused.exit, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("second level"), "{refused:?}");
}
