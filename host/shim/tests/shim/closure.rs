//! The shim's dependencies. A runtime starts it for every call, so none may creep in unnoticed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every crate that may be linked into the shim, except procedural macros.
const ALLOWED: [&str; 16] = [
    "base64",
    "bitflags",
    "cnidaria-cni-types",
    "cnidaria-shim",
    "cnidaria-shim-api",
    "httparse",
    "ipnet",
    "itoa",
    "linux-raw-sys",
    "memchr",
    "rustix",
    "serde",
    "serde_core",
    "serde_json",
    "thiserror",
    "zmij",
];

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

#[test]
fn nothing_but_the_allowed_crates_is_linked() {
    let output = cargo()
        .args(["tree", "--offline", "--package", "cnidaria-shim"])
        .args(["--edges", "normal,no-proc-macro", "--prefix", "none"])
        .args(["--format", "{p}"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let tree = String::from_utf8(output.stdout).unwrap();
    let linked: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    assert!(linked.contains("serde_json"), "{tree}");
    let uninvited: Vec<_> = linked
        .iter()
        .filter(|name| !ALLOWED.contains(name))
        .collect();
    assert!(uninvited.is_empty(), "{uninvited:?} in\n{tree}");
}

#[test]
fn installed_shim_is_statically_linked() {
    let target = target_dir();
    let output = cargo()
        .arg("build-shim")
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let elf = std::fs::read(target.join("shim/cnidaria-shim")).unwrap();
    // A static-pie executable has a dynamic section for its own relocations, but no entry names a
    // library.
    assert!(!has_segment(&elf, PT_INTERP), "it names an interpreter");
    assert_eq!(needed_libraries(&elf), 0, "it names libraries");

    let output = Command::new(target.join("shim/cnidaria-shim"))
        .env_clear()
        .env("CNI_COMMAND", "VERSION")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// The build directory of this test: `<target>/<profile>/cnidaria-shim` is the binary under test.
fn target_dir() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_cnidaria-shim"));
    binary.ancestors().nth(2).unwrap().to_owned()
}

const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;

/// A little-endian number of `len` bytes.
fn number(elf: &[u8], at: usize, len: usize) -> u64 {
    elf[at..at + len]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Type, offset in the file and size of every segment of a 64-bit ELF file.
fn segments(elf: &[u8]) -> Vec<(u64, usize, usize)> {
    assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "64 bits, little-endian");
    let table = number(elf, 32, 8) as usize;
    let size = number(elf, 54, 2) as usize;
    (0..number(elf, 56, 2) as usize)
        .map(|index| table + index * size)
        .map(|at| {
            (
                number(elf, at, 4),
                number(elf, at + 8, 8) as usize,
                number(elf, at + 32, 8) as usize,
            )
        })
        .collect()
}

fn has_segment(elf: &[u8], kind: u64) -> bool {
    segments(elf).iter().any(|segment| segment.0 == kind)
}

fn needed_libraries(elf: &[u8]) -> usize {
    segments(elf)
        .into_iter()
        .filter(|(kind, ..)| *kind == PT_DYNAMIC)
        .flat_map(|(_, offset, size)| (offset..offset + size).step_by(16))
        .filter(|at| number(elf, *at, 8) == DT_NEEDED)
        .count()
}

#[test]
fn library_check_detects_dynamic_linking() {
    let elf = std::fs::read(env!("CARGO_BIN_EXE_cnidaria-shim")).unwrap();
    assert!(has_segment(&elf, PT_INTERP));
    assert!(needed_libraries(&elf) > 0);
}
