//! How a test gets a node of its own: the test binary executes itself once more under
//! `tests/node/enter`, for this one test, so that cases run side by side and clean up by ending.

use std::any::type_name;
use std::env;
use std::process::{Command, ExitStatus};

use crate::build;
use crate::node::Node;

/// The script that makes a private node and runs a command there.
pub const ENTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/enter");

/// Says that this process is on a private node already, and which case it is there for.
const CASE: &str = "CNIDARIA_NODE_CASE";
/// The exit code of `enter` where namespaces cannot be made.
const NO_NAMESPACES: i32 = 77;
/// Set to `skip`, lets the tests pass without having run where namespaces cannot be made.
const WITHOUT: &str = "CNIDARIA_WITHOUT_NAMESPACES";

/// Runs a case on a node of its own. Give it a closure that stands right in the `#[test]` function:
/// the name of the test is read from it.
///
/// # Panics
/// When the case fails, with all that it printed, and when a node cannot be made.
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

/// Whether `enter` could not make a node, and the tests may be left out for that.
///
/// # Panics
/// When it could not, and they may not.
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

/// The path of a test, from the type of a closure in it: `binary::module::test::{{closure}}`.
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
