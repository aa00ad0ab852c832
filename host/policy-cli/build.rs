//! Embeds the SDK, the WIT package and the templates of projects, so that the command line alone can
//! create a project: a table of paths and contents.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a build script fails by panicking"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use toml::{Table, Value};

/// Directories of the repository that are embedded, with the prefix of their paths in the table.
const EMBEDDED: [(&str, &str); 4] = [
    ("guest-sdk", "sdk/guest-sdk"),
    ("guest-sdk-derive", "sdk/guest-sdk-derive"),
    ("wit", "sdk/wit"),
    ("host/policy-cli/templates", "templates"),
];

/// Files that say which versions of other languages' tools this release was tested with.
const TOOLS: [&str; 2] = ["javascript/package-lock.json", "python/requirements.txt"];

/// Names that are not part of the SDK in Rust, or are built.
const SKIPPED: [&str; 7] = [
    "javascript",
    "node_modules",
    "python",
    "c",
    "shipped",
    "target",
    "venv",
];

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    let root = root.canonicalize().unwrap();
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let workspace: Table = fs::read_to_string(root.join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let mut files = BTreeMap::new();
    for (directory, prefix) in EMBEDDED {
        let skipped: &[&str] = if directory.starts_with("guest-sdk") || directory == "wit" {
            &SKIPPED
        } else {
            &[]
        };
        collect(&root.join(directory), prefix, skipped, &mut files);
        println!("cargo::rerun-if-changed={}", root.join(directory).display());
    }
    for file in TOOLS {
        let path = root.join("guest-sdk").join(file);
        println!("cargo::rerun-if-changed={}", path.display());
        files.insert(format!("tools/{file}"), path);
    }
    println!(
        "cargo::rerun-if-changed={}",
        root.join("Cargo.toml").display()
    );
    let mut table = String::from("&[\n");
    for (number, (name, path)) in files.iter().enumerate() {
        let path = if name.starts_with("sdk/guest-sdk") && name.ends_with("Cargo.toml") {
            let standalone = out.join(format!("{number}-Cargo.toml"));
            let manifest = standalone_manifest(&fs::read_to_string(path).unwrap(), &workspace);
            fs::write(&standalone, manifest).unwrap();
            standalone
        } else {
            path.clone()
        };
        writeln!(
            table,
            "    ({name:?}, include_str!({:?})),",
            path.display().to_string()
        )
        .unwrap();
    }
    table.push_str("]\n");
    fs::write(out.join("files.rs"), table).unwrap();
}

fn collect(dir: &Path, prefix: &str, skipped: &[&str], files: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if skipped.contains(&name.as_str()) || name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let inner = format!("{prefix}/{name}");
        if path.is_dir() {
            collect(&path, &inner, skipped, files);
        } else {
            files.insert(inner, path);
        }
    }
}

/// A package's manifest without `workspace = true`: the values of the workspace take its place.
fn standalone_manifest(text: &str, workspace: &Table) -> String {
    let mut manifest: Table = text.parse().unwrap();
    let workspace = workspace["workspace"].as_table().unwrap();
    manifest.remove("lints");
    manifest.remove("dev-dependencies");
    let shared = workspace["package"].as_table().unwrap();
    inherit(manifest["package"].as_table_mut().unwrap(), shared);
    let shared = workspace["dependencies"].as_table().unwrap();
    let inherit_all = |table: &mut Table| {
        for key in ["dependencies", "build-dependencies"] {
            if let Some(Value::Table(dependencies)) = table.get_mut(key) {
                inherit(dependencies, shared);
            }
        }
        table.remove("dev-dependencies");
    };
    inherit_all(&mut manifest);
    if let Some(Value::Table(targets)) = manifest.get_mut("target") {
        for (_, target) in targets.iter_mut() {
            inherit_all(target.as_table_mut().unwrap());
        }
    }
    toml::to_string(&manifest).unwrap()
}

fn inherit(table: &mut Table, shared: &Table) {
    for (key, value) in table.iter_mut() {
        let Value::Table(own) = value else { continue };
        if own.remove("workspace") != Some(Value::Boolean(true)) {
            continue;
        }
        let own = std::mem::take(own);
        let mut inherited = shared[key].clone();
        // Paths in the workspace begin at its root; the SDK's crates are embedded side by side.
        if let Value::Table(of_workspace) = &mut inherited
            && let Some(Value::String(path)) = of_workspace.get_mut("path")
        {
            *path = format!("../{path}");
        }
        if own.is_empty() {
            *value = inherited;
            continue;
        }
        let mut merged = match inherited {
            Value::Table(table) => table,
            version => Table::from_iter([("version".to_owned(), version)]),
        };
        for (key, value) in own {
            match (key.as_str(), merged.get_mut(&key), value) {
                ("features", Some(Value::Array(features)), Value::Array(more)) => {
                    features.extend(more);
                }
                (_, _, value) => {
                    merged.insert(key, value);
                }
            }
        }
        *value = Value::Table(merged);
    }
}
