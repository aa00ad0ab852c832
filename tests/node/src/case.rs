//! How a test gets a node of its own: the test binary executes itself once more under
//! `tests/node/enter`, for this one test, so that cases run side by side and clean up by ending.

use std::any::type_name;
use std::env;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::binaries::Binaries;
use crate::node::Node;

/// Says that this process is on a private node already, and which case it is there for.
const CASE: &str = "CNIDARIA_NODE_CASE";
/// The exit code of `enter` where namespaces cannot be made.
const NO_NAMESPACES: i32 = 77;
/// Lets the tests pass without having run where namespaces cannot be made, when set to `skip`.
const WITHOUT: &str = "CNIDARIA_WITHOUT_NAMESPACES";

/// Says that the binaries are built already, when set; `make test` builds them first.
const BUILT: &str = "CNIDARIA_BUILT";

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
    build();
    let program = env::current_exe().expect("the system knows which program runs");
    let enter = Path::new(env!("CARGO_MANIFEST_DIR")).join("enter");
    let output = Command::new(enter)
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
    if output.status.code() == Some(NO_NAMESPACES) {
        assert!(
            env::var(WITHOUT).is_ok_and(|value| value == "skip"),
            "{said}\n{WITHOUT}=skip leaves these tests out"
        );
        eprintln!("{test} was left out: {said}");
        return;
    }
    assert!(
        output.status.success() && said.contains("1 passed"),
        "on its private node, {} with:\n{said}",
        output.status
    );
    print!("{said}");
}

/// The path of a test, from the type of a closure in it: `binary::module::test::{{closure}}`.
fn test_of<F>() -> &'static str {
    let name = type_name::<F>();
    let name = name.strip_suffix("::{{closure}}").unwrap_or(name);
    name.split_once("::").map_or(name, |(_, test)| test)
}

/// Cargo builds no binaries of other packages for a test, so a changed daemon would be tested in its
/// old form. Takes a moment when nothing has changed.
fn build() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        if env::var_os(BUILT).is_some() {
            return;
        }
        let binaries = Binaries::of_this_build().expect("the system knows which program runs");
        let profile = if cfg!(debug_assertions) {
            "dev"
        } else {
            "release"
        };
        let builds: [&[&str]; 2] = [
            &["build", "--workspace", "--bins", "--profile", profile],
            &["build-shim"],
        ];
        for arguments in builds {
            let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .args(arguments)
                .env("CARGO_TARGET_DIR", binaries.target())
                .env("CARGO_TERM_QUIET", "true")
                .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
                .status()
                .expect("cargo can be executed");
            assert!(status.success(), "cargo {} failed", arguments.join(" "));
        }
    });
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
