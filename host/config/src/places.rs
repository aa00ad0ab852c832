//! Whether the directories that a configuration names exist where the daemon looks.

use std::path::Path;

use crate::daemon::DaemonConfig;
use crate::mistakes::{Mistake, place};

/// Where the DaemonSet and the packages put modules and configurations.
const USUAL_MODULES: &str = "/etc/cnidaria/policies";
const USUAL_CONFIGS: &str = "/etc/cnidaria/policy-configs";

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
    if let crate::conf_file::ConfFile::Generated(generated) = &config.conf_file {
        require(&["multusAutoconfigDir"], &generated.primary_dir, "");
        require(&["cniConfigDir"], &generated.target_dir, "");
    }
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
