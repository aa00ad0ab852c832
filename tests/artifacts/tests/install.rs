//! Runs `tests/setup/install` in a sandbox of fake programs plus a few real ones.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Real programs that the script, or a fake, executes.
const REAL: [&str; 10] = [
    "cat", "chmod", "dirname", "env", "ln", "mkdir", "mktemp", "rm", "sed", "tail",
];

/// Programs that the script only checks for.
const PRESENT: [&str; 7] = ["cargo", "cc", "ip", "nsenter", "ping", "setpriv", "unshare"];

const FAKES: [(&str, &str); 6] = [
    ("bin/apt-get", include_str!("install/apt-get")),
    ("bin/id", include_str!("install/id")),
    ("bin/rustc", include_str!("install/rustc")),
    ("bin/rustup", include_str!("install/rustup")),
    ("debian-rustc", include_str!("install/debian-rustc")),
    ("nothing", include_str!("install/nothing")),
];

/// What differs between sandboxes: one file each, read by the fakes.
const DEFAULTS: [(&str, &str); 7] = [
    ("rustup", "refuses"),
    ("own", "1.95.0"),
    ("offered", "1.85.0"),
    ("newest", "1.96.0"),
    ("plugins", "complete"),
    ("uid", "0"),
    ("calls", ""),
];

struct World(tempfile::TempDir);

struct Finished {
    succeeded: bool,
    text: String,
}

impl Finished {
    fn of(output: Output) -> Self {
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Self {
            succeeded: output.status.success(),
            text: text.concat(),
        }
    }
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        for directory in [
            "bin",
            "root/usr/bin",
            "root/usr/include",
            "sysroot/lib/rustlib/host/bin/gcc-ld",
        ] {
            fs::create_dir_all(world.path(directory)).unwrap();
        }
        for (name, text) in FAKES {
            fs::write(world.path(name), text).unwrap();
            fs::set_permissions(world.path(name), PermissionsExt::from_mode(0o755)).unwrap();
        }
        for name in PRESENT {
            symlink(world.path("nothing"), world.path("bin").join(name)).unwrap();
        }
        for name in REAL {
            symlink(real(name), world.path("bin").join(name)).unwrap();
        }
        for name in ["wasm-component-ld", "gcc-ld/wasm-ld"] {
            world.write(&format!("sysroot/lib/rustlib/host/bin/{name}"), "");
        }
        world.write("root/usr/include/stdlib.h", "");
        for (name, text) in DEFAULTS.iter().chain(files) {
            world.write(name, text);
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("WORLD", self.0.path())
            .env("CNIDARIA_SETUP_ROOT", self.path("root"))
            .current_dir(self.0.path());
        command
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Finished {
        Finished::of(self.command(program, arguments).output().unwrap())
    }

    fn install(&self) -> Finished {
        self.run(&workspace().join("tests/setup/install"), &["demo"])
    }

    /// What `test-artifacts` would build with.
    fn compiler(&self) -> Finished {
        let program = Path::new(env!("CARGO_BIN_EXE_test-artifacts"));
        self.run(program, &["compiler"])
    }

    fn calls(&self, of: &str) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap();
        let of = calls.lines().filter(|call| call.starts_with(of));
        of.map(str::to_owned).collect()
    }

    /// Runs the script, which must succeed, choose this compiler as `test-artifacts` does, and do
    /// nothing when run again.
    fn chooses(&self, compiler: &str) -> String {
        let said = self.install();
        assert!(said.succeeded, "{}", said.text);
        let line = format!("Chosen for the policies: {compiler}.");
        assert!(said.text.lines().any(|said| said == line), "{}", said.text);
        assert_eq!(self.compiler().text.trim(), compiler);
        let again = self.install();
        assert!(again.succeeded);
        assert_eq!(again.text, "");
        said.text
    }
}

fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.join("../..").canonicalize().unwrap()
}

fn real(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("this test needs {name}(1)"))
}

#[test]
fn rustup_adds_the_target_of_this_project() {
    let world = World::new(&[("rustup", "adds")]);
    world.chooses("rustc 1.95.0, which has wasm32-unknown-unknown");
    let call = format!(
        "rustup target add wasm32-unknown-unknown in {}",
        workspace().display()
    );
    assert_eq!(world.calls("rustup"), [call]);
    let apt = world.calls("apt-get");
    assert!(
        apt.iter().all(|call| !call.contains("rustc-web")),
        "{apt:?}"
    );
}

#[test]
fn debians_compiler_replaces_a_refusing_rustup() {
    let world = World::new(&[("offered", "1.96.0")]);
    let said = world.chooses("Debian's rustc 1.96.0");
    assert!(said.contains("error: could not download file"), "{said}");
    assert_eq!(world.calls("apt-get update"), Vec::<String>::new());
}

#[test]
fn old_lists_are_fetched_again() {
    let world = World::new(&[]);
    world.chooses("Debian's rustc 1.96.0");
    assert_eq!(world.calls("apt-get update").len(), 1);
}

#[test]
fn lists_known_to_be_old_are_fetched_first() {
    let world = World::new(&[]);
    let policy = "#!/bin/sh\necho \"  Candidate: $(cat \"$WORLD/offered\")+dfsg1\"\n";
    world.write("bin/apt-cache", policy);
    fs::set_permissions(
        world.path("bin/apt-cache"),
        PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    world.chooses("Debian's rustc 1.96.0");
    let calls = world.calls("apt-get");
    assert_eq!(calls.first().map(String::as_str), Some("apt-get update"));
    assert_eq!(calls.len(), 2, "{calls:?}");
}

#[test]
fn a_compiler_too_old_for_good_is_reported() {
    let world = World::new(&[("newest", "1.85.0")]);
    let said = world.install();
    assert!(!said.succeeded);
    let rustc = world.path("root/usr/bin/rustc");
    let lacks = format!(
        "{} is version 1.85.0, needed is 1.95 or newer",
        rustc.display()
    );
    let artifacts = world.compiler();
    assert!(!artifacts.succeeded);
    assert!(artifacts.text.contains(&lacks), "{}", artifacts.text);
    assert!(said.text.contains(&lacks), "{}", said.text);
    for advice in artifacts.text.lines().skip(1) {
        assert!(
            said.text.contains(advice),
            "{advice} is not in {}",
            said.text
        );
    }
    assert!(
        said.text
            .contains("  rustup target add wasm32-unknown-unknown\n")
    );

    // The next run recovers once a newer version is available.
    world.write("newest", "1.96.0");
    world.chooses("Debian's rustc 1.96.0");
}

#[test]
fn sources_of_another_compiler_are_replaced() {
    let world = World::new(&[("offered", "1.85.0")]);
    world.install();
    world.write("root/usr/lib/rustlib/src/rust/src/version", "1.85.0");
    assert!(!world.compiler().succeeded);
    world.chooses("Debian's rustc 1.96.0");
}

#[test]
fn an_ordinary_user_gets_the_command() {
    let world = World::new(&[("uid", "1000")]);
    let said = world.install();
    assert!(!said.succeeded);
    assert!(
        said.text.contains(
            "  apt-get update && apt-get install --yes --no-install-recommends \
             rustc-web rust-web-src containernetworking-plugins\n"
        ),
        "{}",
        said.text
    );
    assert_eq!(world.calls("apt-get"), Vec::<String>::new());
}

#[test]
fn an_ordinary_user_needs_only_rustup() {
    let world = World::new(&[("uid", "1000"), ("rustup", "adds")]);
    fs::create_dir_all(world.path("root/usr/lib/cni")).unwrap();
    for plugin in ["bridge", "host-local", "macvlan"] {
        let path = world.path("root/usr/lib/cni").join(plugin);
        symlink(world.path("nothing"), path).unwrap();
    }
    world.chooses("rustc 1.95.0, which has wasm32-unknown-unknown");
}

/// As an ordinary user, whom no fake can make of root.
#[test]
fn a_directory_of_root_is_reported() {
    let world = World::new(&[("uid", "65534")]);
    let source = world.path("source");
    for directory in ["source/tests/setup", "built/debug"] {
        fs::create_dir_all(world.path(directory)).unwrap();
    }
    let script = source.join("tests/setup/install");
    fs::copy(workspace().join("tests/setup/install"), &script).unwrap();
    fs::copy(workspace().join("Cargo.toml"), source.join("Cargo.toml")).unwrap();
    let permit = |path: &Path, mode| {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    permit(world.0.path(), 0o755);
    permit(&world.path("calls"), 0o666);
    permit(&world.path("built/debug"), 0o555);
    let built = world.path("built").display().to_string();
    let mut command = world.command(&script, &["demo", &built]);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let said = Finished::of(command.output().unwrap());
    assert!(!said.succeeded);
    let expected = format!("You cannot write to {built}");
    assert!(said.text.starts_with(&expected), "{}", said.text);
    let cure = format!("  sudo chown -R 65534 '{built}'\n");
    assert!(said.text.ends_with(&cure), "{}", said.text);
}

#[test]
fn an_unusable_tmpdir_is_reported() {
    let world = World::new(&[]);
    let script = workspace().join("tests/setup/install");
    let mut command = world.command(&script, &["demo"]);
    let said = command.env("TMPDIR", world.path("missing")).output();
    let said = Finished::of(said.unwrap());
    assert!(!said.succeeded);
    assert!(said.text.ends_with("  unset TMPDIR\n"), "{}", said.text);
}

#[test]
fn deleted_files_of_a_package_come_back() {
    let world = World::new(&[("plugins", "deleted"), ("rustup", "adds")]);
    world.chooses("rustc 1.95.0, which has wasm32-unknown-unknown");
}

#[test]
fn a_package_without_what_is_needed_is_named() {
    let world = World::new(&[("plugins", "none"), ("rustup", "adds")]);
    let said = world.install();
    assert!(!said.succeeded);
    let (_, missing) = said.text.split_once("Still missing after").unwrap();
    assert!(missing.contains("containernetworking-plugins"), "{missing}");
    assert!(!missing.contains("rustc-web"), "{missing}");
    world.write("plugins", "complete");
    assert!(world.install().succeeded);
}

#[test]
fn an_old_toolchain_is_reported() {
    let world = World::new(&[("own", "1.63.0")]);
    let said = world.install();
    assert!(!said.succeeded);
    assert!(
        said.text
            .contains("rustc is version 1.63.0, needed is 1.95"),
        "{}",
        said.text
    );
}
