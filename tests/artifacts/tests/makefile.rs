//! `make demo` and `make test` run what cargo built, wherever that is.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

/// What `make --dry-run` would run, with a variable of the user's.
fn recipe(target: &str, (name, value): (&str, &str)) -> String {
    let mut make = Command::new("make");
    for other in [
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET_DIR",
        "MAKEFLAGS",
        "MAKELEVEL",
    ] {
        make.env_remove(other);
    }
    let output = make
        .args(["--dry-run", "--no-print-directory", target])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .env(name, value)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_users_target_directory_is_found() {
    for variable in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"] {
        for (target, program) in [("demo", "cnidaria-demo"), ("test", "test-artifacts")] {
            let recipe = recipe(target, (variable, "/a b"));
            let expected = format!("\"/a b/debug/{program}\"");
            assert!(recipe.contains(&expected), "{variable}: {recipe}");
        }
    }
}
