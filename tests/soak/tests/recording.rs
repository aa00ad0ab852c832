//! A short run of `cnidaria-recording`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use node::{build, case};

#[test]
fn a_recording_names_exactly_what_changes() {
    build::everything();
    let output = Command::new(case::ENTER)
        .args([env!("CARGO_BIN_EXE_cnidaria-recording"), "200"])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let printed = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    if case::left_out(output.status, &printed) {
        return;
    }
    assert!(output.status.success(), "{printed}");
    assert!(stdout.contains("the same policy: 0 of "), "{printed}");
}
