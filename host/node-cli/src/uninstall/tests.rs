use super::*;
use crate::installation::New;

struct Rig {
    dir: tempfile::TempDir,
    args: UninstallArgs,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["net.d", "bin", "policies"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let shown = dir.path().display();
        let config = format!(
            r#"{{"cniVersion":"1.0.0","multusConfigFile":"auto","cniConfigDir":"{shown}/net.d",
                "socketDir":"{shown}/run","cniDir":"{shown}/cni",
                "cnidaria":{{"manifests":"{shown}","policies":{{"modules":"{shown}/policies",
                "cache":"{shown}/cnidaria/policies","state":"{shown}/cnidaria/state"}}}}}}"#
        );
        std::fs::write(at("config.json"), config).unwrap();
        let args = UninstallArgs {
            config: at("config.json"),
            bin_dir: at("bin"),
            policies_dir: at("policies"),
            daemon: Some("/nonexistent/daemon".into()),
            daemon_set: None,
            timeout: 0,
            force: false,
        };
        Self { dir, args }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn install(&self) {
        let shims = SHIM_NAMES.map(|name| New {
            name: name.to_owned(),
            content: b"cnidaria.shim".to_vec(),
            mode: 0o755,
        });
        let installation = Installation::in_dir(&self.path("bin"));
        installation.put(&shims, is_our_shim).unwrap();
        let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"multus-shim"}"#;
        self.write("net.d/00-multus.conf", conf);
    }

    fn uninstall(&self) -> Result<Output, Box<dyn Error>> {
        uninstall(&self.args, None)
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for file in std::fs::read_dir(dir).unwrap() {
                let path = file.unwrap().path();
                if path.is_dir() {
                    dirs.push(path.clone());
                }
                found.push(path);
            }
        }
        found.sort();
        found
    }
}

#[test]
fn nothing_of_an_installation_stays() {
    let rig = Rig::new();
    rig.write("net.d/10-primary.conflist", "{}");
    let before = rig.files();
    rig.install();
    rig.write("cni/.directories", r#"{"directories":[]}"#);
    for own in ["cni/.undo", "cni/.deferred", "cni/results", "run"] {
        std::fs::create_dir_all(rig.path(own)).unwrap();
    }
    rig.write("cnidaria/policies/kept/x", "compiled");
    rig.write("cnidaria/state/y", "state");
    let output = rig.uninstall().unwrap();
    assert_eq!(output.code, 0, "{}", output.text);
    assert_eq!(rig.files(), before);
    assert_eq!(rig.uninstall().unwrap().code, 0, "it can be repeated");
}

#[test]
fn the_conf_goes_before_the_daemon_is_needed() {
    let rig = Rig::new();
    rig.install();
    rig.write("cni/c1", "[]");
    let error = rig.uninstall().unwrap_err().to_string();
    assert!(error.contains("/nonexistent/daemon"), "{error}");
    assert!(!rig.path("net.d/00-multus.conf").exists());
    assert!(rig.path("bin/multus-shim").exists());
    assert!(rig.path("cni/c1").exists());
}

#[test]
fn another_programs_conf_and_shim_stay() {
    let rig = Rig::new();
    rig.install();
    rig.write("bin/multus-shim", "the shim of Multus");
    let output = rig.uninstall().unwrap();
    assert_eq!(output.code, 0, "{}", output.text);
    assert!(rig.path("net.d/00-multus.conf").exists());
    assert!(rig.path("bin/multus-shim").exists());
    assert!(!rig.path("bin/cnidaria-shim").exists());
}

#[test]
fn a_broken_configuration_is_named() {
    let rig = Rig::new();
    rig.write("config.json", r#"{"socketDir":7}"#);
    let error = rig.uninstall().unwrap_err().to_string();
    assert!(error.contains("config.json: socketDir"), "{error}");
}

#[test]
fn directories_that_were_remembered_count() {
    let rig = Rig::new();
    rig.install();
    let other = rig.path("other");
    let text = format!(r#"{{"directories":[{{"cniDir":"{}"}}]}}"#, other.display());
    rig.write("cni/.directories", &text);
    rig.write("other/results/n-c-eth0", "{}");
    rig.uninstall().unwrap_err();
    std::fs::remove_file(other.join("results/n-c-eth0")).unwrap();
    assert_eq!(rig.uninstall().unwrap().code, 0);
    assert!(!other.exists());
}
