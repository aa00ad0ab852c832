//! Gives each test its own node: the test binary re-executes itself under `tests/node/enter` for
//! that one test, so cases run in parallel and clean up by exiting.

use std::any::type_name;
use std::env;
use std::process::{Command, ExitStatus};

use crate::build;
use crate::node::Node;

/// The script that creates a private node and runs a command there.
pub const ENTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/enter");

/// Set when this process already runs on a private node; names its case.
const CASE: &str = "CNIDARIA_NODE_CASE";
/// Exit code of `enter` when it cannot create namespaces.
const NO_NAMESPACES: i32 = 77;
/// Set to `skip`, lets tests pass without running where namespaces cannot be created.
const WITHOUT: &str = "CNIDARIA_WITHOUT_NAMESPACES";

/// Runs a case on its own node. Call it with a closure directly in the `#[test]` function: the
/// test's name is derived from the closure's type.
///
/// # Panics
/// When the case fails, with all its output, or when the node cannot be created.
pub fn on_a_private_node<F: FnOnce(&mut Node)>(case: F) {
    let test = test_of::<F>();
    if env::var_os(CASE).is_some() {
        let mut node = Node::new().expect("a private node has an empty /run");
        case(&mut node);
        return;
    }
    build::everything();
    let program = env::current_exe().expect("the system knows which program runs");
    let output = Command::new(ENTER)
        .arg(program)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(CASE, test)
        .output()
        .expect("tests/node/enter can be executed");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if left_out(output.status, &said) {
        return;
    }
    assert!(
        output.status.success() && said.contains("1 passed"),
        "on its private node, {} with:\n{said}",
        output.status
    );
    print!("{said}");
}

/// Whether to skip a test because `enter` could not create a node.
///
/// # Panics
/// When `enter` could not create a node and skipping is not allowed.
pub fn left_out(status: ExitStatus, said: &str) -> bool {
    if status.code() != Some(NO_NAMESPACES) {
        return false;
    }
    assert!(
        env::var(WITHOUT).is_ok_and(|value| value == "skip"),
        "{said}\n{WITHOUT}=skip leaves these tests out"
    );
    eprintln!("left out: {said}");
    true
}

/// A test's path, from the type of a closure in it: `binary::module::test::{{closure}}`.
fn test_of<F>() -> &'static str {
    let name = type_name::<F>();
    let name = name.strip_suffix("::{{closure}}").unwrap_or(name);
    name.split_once("::").map_or(name, |(_, test)| test)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name<F: FnOnce()>(_: F) -> &'static str {
        test_of::<F>()
    }

    #[test]
    fn a_closure_tells_the_name_of_its_test() {
        assert_eq!(
            name(|| {}),
            "case::tests::a_closure_tells_the_name_of_its_test"
        );
    }
}
