//! Whether the directories that a configuration names exist where the daemon looks.

use std::path::{Path, PathBuf};

use crate::conf_file::ConfFile;
use crate::daemon::DaemonConfig;
use crate::key_path::place;
use crate::mistakes::Mistake;

/// Where the DaemonSet and the packages put modules and configurations.
const USUAL_MODULES: &str = "/etc/cnidaria/policies";
const USUAL_CONFIGS: &str = "/etc/cnidaria/policy-configs";

/// What keeps a directory from being created: the path itself or one above it, if that is not a
/// directory.
pub fn in_the_way(dir: &Path) -> Option<&Path> {
    let existing = dir.ancestors().find_map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((path, found))
    });
    existing
        .filter(|(_, found)| !found.is_dir())
        .map(|(path, _)| path)
}

/// What is not there. `text` is the file's, for the lines.
pub fn find(text: &[u8], config: &DaemonConfig) -> Vec<Mistake> {
    let text = String::from_utf8_lossy(text);
    let mut found = Vec::new();
    let mut require = |key: &[&str], dir: &Path, usual: &str| {
        if dir.is_dir() {
            return;
        }
        let key: Vec<String> = key.iter().map(|part| (*part).to_owned()).collect();
        let (line, column) = place(&text, &key);
        let mut problem = format!("{} is not a directory", dir.display());
        if !usual.is_empty() && has_policies(Path::new(usual)) && Path::new(usual) != dir {
            problem += &format!("; {usual} has policies: did you mean it?");
        }
        found.push(Mistake {
            line,
            column,
            key: key.join("."),
            problem,
            is_error: true,
        });
    };
    if let Some(policies) = &config.own.policies {
        let modules = ["cnidaria", "policies", "modules"];
        require(&modules, &policies.modules, USUAL_MODULES);
        if let Some(configs) = &policies.configs {
            require(&["cnidaria", "policies", "configs"], configs, USUAL_CONFIGS);
        }
    }
    if let Some(manifests) = &config.own.manifests {
        require(&["cnidaria", "manifests"], manifests, "");
    }
    if let Some(root) = &config.chroot_dir {
        require(&["chrootDir"], root, "");
    }
    if let ConfFile::Generated(generated) = &config.conf_file {
        require(&["multusAutoconfigDir"], &generated.primary_dir, "");
        require(&["cniConfigDir"], &generated.target_dir, "");
    }
    if let Some(path) = in_the_way(&config.cni_dir) {
        let key = "cniDir".to_owned();
        let (line, column) = place(&text, std::slice::from_ref(&key));
        let (dir, path) = (config.cni_dir.display(), path.display());
        found.push(Mistake {
            line,
            column,
            key,
            problem: format!("{dir} cannot hold the ledger, because {path} is not a directory"),
            is_error: true,
        });
    }
    found.extend(files(&text, config));
    found.extend(relative(&text, config));
    if config.own.policies.is_none() && has_policies(Path::new(USUAL_MODULES)) {
        found.push(Mistake {
            line: 1,
            column: 1,
            key: "cnidaria.policies".to_owned(),
            problem: format!("not set, but {USUAL_MODULES} has policies: none is in force"),
            is_error: false,
        });
    }
    found
}

/// Files of the runtime's confs that are not there.
fn files(text: &str, config: &DaemonConfig) -> Option<Mistake> {
    let (key, path) = match &config.conf_file {
        ConfFile::Copied { from, .. } => ("multusConfigFile", from.clone()),
        ConfFile::Generated(generated) => {
            let primary = generated.primary.as_ref()?;
            ("multusMasterCNI", generated.primary_dir.join(primary))
        }
        ConfFile::Absent => return None,
    };
    let is_copied = matches!(config.conf_file, ConfFile::Copied { .. });
    let hint = match is_copied && path.parent().is_none_or(|dir| dir.as_os_str().is_empty()) {
        true => "; \"auto\" generates the conf from the primary network's",
        false => "",
    };
    let (line, column) = place(text, &[key.to_owned()]);
    (!path.is_file()).then(|| Mistake {
        line,
        column,
        key: key.to_owned(),
        problem: format!("{} does not exist{hint}", path.display()),
        // The daemon waits for the primary network's conf, but not for one that it copies.
        is_error: is_copied,
    })
}

/// Paths that depend on the daemon's working directory.
fn relative(text: &str, config: &DaemonConfig) -> Vec<Mistake> {
    let own = &config.own;
    let collect = own.collect.as_ref();
    let policies = own.policies.as_ref();
    let paths = [
        ("socketDir", Some(&config.socket_dir)),
        ("cniDir", Some(&config.cni_dir)),
        ("chrootDir", config.chroot_dir.as_ref()),
        ("logFile", config.logging.file.as_ref()),
        ("cnidaria.manifests", own.manifests.as_ref()),
        ("cnidaria.statusDir", own.status_dir.as_ref()),
        ("cnidaria.delegateCgroup", own.delegate_cgroup.as_ref()),
        ("cnidaria.deviceInfoDir", Some(&own.device_info_dir)),
        (
            "cnidaria.collect.runtimeSocket",
            collect.map(|one| &one.runtime_socket),
        ),
        (
            "cnidaria.policies.modules",
            policies.map(|one| &one.modules),
        ),
        ("cnidaria.policies.cache", policies.map(|one| &one.cache)),
        ("cnidaria.policies.state", policies.map(|one| &one.state)),
    ];
    let relative = paths
        .into_iter()
        .filter_map(|(key, path)| Some((key, path.filter(|path| path.is_relative())?)));
    let mistake = |(key, path): (&str, &PathBuf)| {
        let parts: Vec<String> = key.split('.').map(str::to_owned).collect();
        let (line, column) = place(text, &parts);
        Mistake {
            line,
            column,
            key: key.to_owned(),
            problem: format!("{} is not an absolute path", path.display()),
            is_error: false,
        }
    };
    relative.map(mistake).collect()
}

fn has_policies(dir: &Path) -> bool {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths = files.map(|file| file.path());
    paths.any(|path| {
        path.extension()
            .is_some_and(|one| one == "wasm" || one == "json")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_elsewhere_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().display();
        let text = format!(
            "{{\"cnidaria\": {{\n\"policies\": {{\n\"modules\": \"{there}/nope\", \"configs\": \"{there}\"}}}}}}"
        );
        let config = DaemonConfig::parse(text.as_bytes()).unwrap();
        let found = find(text.as_bytes(), &config);
        assert_eq!(found.len(), 1);
        let expected =
            format!("3:1: error: cnidaria.policies.modules: {there}/nope is not a directory");
        assert!(found[0].to_string().starts_with(&expected), "{}", found[0]);
    }

    fn problems(text: &str) -> Vec<String> {
        let config = DaemonConfig::parse(text.as_bytes()).unwrap();
        let found = find(text.as_bytes(), &config).into_iter();
        found.map(|one| one.to_string()).collect()
    }

    #[test]
    fn files_and_relative_paths_are_looked_at() {
        let found = problems("{\n\"multusConfigFile\":\"atuo\",\n\"socketDir\":\"run\"}");
        assert!(
            found[0].starts_with("2:1: error: multusConfigFile: atuo does not"),
            "{found:?}"
        );
        assert!(found[0].contains("\"auto\""), "{found:?}");
        assert_eq!(
            found[1],
            "3:1: warning: socketDir: run is not an absolute path"
        );
        let found = problems(r#"{"cnidaria":{"collect":{"runtimeSocket":"c.sock"}}}"#);
        assert_eq!(
            found,
            ["1:25: warning: cnidaria.collect.runtimeSocket: c.sock is not an absolute path"]
        );
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().display();
        let found = problems(&format!(
            r#"{{"multusConfigFile":"auto","cniVersion":"1.0.0","multusAutoconfigDir":"{dir}",
                "cniConfigDir":"{dir}","multusMasterCNI":"10-gone.conf"}}"#
        ));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("warning: multusMasterCNI: "), "{found:?}");
    }

    #[test]
    fn a_file_in_the_place_of_cni_dir_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, dir.path().join("link")).unwrap();
        for (name, named) in [
            ("file", Some("file")),
            ("file/below/it", Some("file")),
            ("link", Some("link")),
            ("missing/below", None),
            ("", None),
        ] {
            let at = dir.path().join(name);
            let found = problems(&format!("{{\n\"cniDir\":\"{}\"}}", at.display()));
            let expected = named.map(|named| {
                format!(
                    "2:1: error: cniDir: {} cannot hold the ledger, because {} is not a directory",
                    at.display(),
                    dir.path().join(named).display()
                )
            });
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn each_directory_of_the_runtime_is_required() {
        let text = br#"{"cniVersion":"1.0.0","multusConfigFile":"auto","chrootDir":"/nonexistent",
            "multusAutoconfigDir":"/nonexistent/a","cniConfigDir":"/nonexistent/b"}"#;
        let config = DaemonConfig::parse(text).unwrap();
        let keys: Vec<String> = find(text, &config).into_iter().map(|one| one.key).collect();
        for key in ["chrootDir", "multusAutoconfigDir", "cniConfigDir"] {
            assert!(keys.iter().any(|one| one == key), "{keys:?}");
        }
    }
}
