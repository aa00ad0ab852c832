//! Checks dependencies against `deny.toml` as far as possible offline: licences, sources and
//! duplicate crates. `cargo deny check advisories` checks advisories.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    sources: Sources,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    name: String,
}

/// A package in the lock file.
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for the workspace's own.
    source: Option<String>,
}

fn deny() -> Deny {
    let text = std::fs::read_to_string(format!("{ROOT}/deny.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

/// All dependencies for all platforms.
fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |package: &Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    let packages = metadata.get("packages").and_then(Value::as_array).unwrap();
    packages
        .iter()
        .map(|package| Package {
            name: text(package, "name").unwrap(),
            version: text(package, "version").unwrap(),
            license: text(package, "license"),
            source: text(package, "source"),
        })
        .collect()
}

/// Whether an SPDX expression permits one of the allowed licences.
fn is_allowed(license: &str, allowed: &BTreeSet<String>) -> bool {
    // Old manifests write a slash for OR.
    let mode = spdx::ParseMode {
        allow_slash_as_or_operator: true,
        ..spdx::ParseMode::STRICT
    };
    spdx::Expression::parse_mode(license, mode)
        .is_ok_and(|expression| expression.evaluate(|one| allowed.contains(&one.to_string())))
}

#[test]
fn every_licence_is_an_allowed_one() {
    let allowed = deny().licenses.allow;
    let refused: Vec<_> = packages()
        .into_iter()
        .filter(|package| {
            let license = package.license.as_deref();
            !license.is_some_and(|license| is_allowed(license, &allowed))
        })
        .map(|package| {
            format!(
                "{} {}: {:?}",
                package.name, package.version, package.license
            )
        })
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn everything_comes_from_the_registry_that_is_named() {
    let registries = deny().sources.allow_registry;
    let known = |source: &str| {
        let registry = source.strip_prefix("registry+");
        registry.is_some_and(|registry| registries.iter().any(|known| known == registry))
    };
    let strange: Vec<_> = packages()
        .into_iter()
        .filter_map(|package| Some((package.name, package.source?)))
        .filter(|(_, source)| !known(source))
        .collect();
    assert!(strange.is_empty(), "{strange:#?}");
}

#[test]
fn no_crate_is_there_twice_but_those_that_are_named() {
    let mut skipped: BTreeSet<_> = deny().bans.skip.into_iter().map(|skip| skip.name).collect();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        let name = format!("{}@{}", package.name, package.version);
        if !skipped.remove(&name) {
            versions.entry(package.name).or_default().push(name);
        }
    }
    versions.retain(|_, names| names.len() > 1);
    assert!(versions.is_empty(), "{versions:#?}");
    assert!(skipped.is_empty(), "not there any more: {skipped:?}");
}

#[test]
fn a_licence_has_to_be_offered_whole() {
    let allowed = ["MIT", "Zlib"].map(str::to_owned).into();
    for (license, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only AND MIT", false),
        ("(GPL-3.0-only OR Zlib) AND MIT", true),
        ("GPL-3.0-only", false),
        ("no licence", false),
    ] {
        assert_eq!(is_allowed(license, &allowed), expected, "{license}");
    }
}

#[test]
fn the_core_depends_on_no_outside_world() {
    let text = std::fs::read_to_string(format!("{ROOT}/host/core/Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&text).unwrap();
    let dependencies = manifest.get("dependencies").unwrap().as_table().unwrap();
    for name in [
        "files",
        "h2",
        "hyper",
        "inotify",
        "k8s-openapi",
        "kube",
        "libc",
        "libcni",
        "policy-engine",
        "rtnetlink",
        "rustix",
        "wasmtime",
    ] {
        assert!(!dependencies.contains_key(name), "{name}");
    }
    let features = dependencies
        .get("tokio")
        .and_then(|tokio| tokio.get("features"));
    for feature in features.unwrap().as_array().unwrap() {
        let feature = feature.as_str().unwrap();
        assert!(
            ["macros", "rt", "sync", "time"].contains(&feature),
            "tokio's {feature}"
        );
    }
}

#[test]
fn the_core_reads_no_files() {
    let mut dirs = vec![std::path::PathBuf::from(format!("{ROOT}/host/core/src"))];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for outside in [
                "std::fs",
                "std::env::",
                "std::process",
                "std::net::Tcp",
                ".exists()",
            ] {
                assert!(!text.contains(outside), "{}: {outside}", path.display());
            }
        }
    }
}
