//! Shared by policy tests: temporary policy directories, and requests to run policies on.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cni_types::json::{Document, Limits, Pointer};
use cni_types::result::CniResult;
use cni_types::version::ConfVersion;
use policy_engine::{
    Command, Config, Outcome, PodRef, PolicyAttachment, PolicyHost, PolicyInfo, Report,
    RequestFacts, Selection, Session,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Runs the script beside the link to it.
const SCRIPTED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../host/policy-engine/fixtures/compiler"
);

/// Temporary directories of policies and artefacts, deleted on drop.
#[derive(Debug)]
pub struct Policies {
    dir: TempDir,
    cache: PathBuf,
    compiler: PathBuf,
}

impl Policies {
    /// Creates empty directories; `compiler` is `env!("CARGO_BIN_EXE_policy-compiler")`.
    ///
    /// # Panics
    /// When they cannot be created.
    pub fn new(compiler: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        std::fs::create_dir(dir.path().join("modules")).expect("the directory is new");
        Self {
            dir,
            cache: test_artifacts::directory("policy-cache"),
            compiler: compiler.into(),
        }
    }

    /// Uses an artefact cache that no other test shares.
    #[must_use]
    pub fn with_own_cache(mut self) -> Self {
        self.cache = self.path("cache");
        self
    }

    /// Adds a policy of this name: a guest of this repository and its configuration.
    ///
    /// # Panics
    /// When the guest does not build.
    #[must_use]
    pub fn with(self, name: &str, guest: &str, config: &Value) -> Self {
        let module = std::fs::read(test_artifacts::guest(guest)).expect("the guest was built");
        self.with_module(name, &module, config)
    }

    /// Adds a policy whose module may be any bytes.
    #[must_use]
    pub fn with_module(self, name: &str, module: &[u8], config: &Value) -> Self {
        self.write(&format!("{name}.wasm"), module);
        self.with_config(name, &config.to_string())
    }

    /// Sets the text of a policy's configuration.
    #[must_use]
    pub fn with_config(self, name: &str, config: &str) -> Self {
        self.write(&format!("{name}.json"), config.as_bytes());
        self
    }

    /// Writes a file beside the modules.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, file: &str, bytes: &[u8]) {
        std::fs::write(self.modules().join(file), bytes).expect("the directory is ours");
    }

    /// The directory of modules.
    pub fn modules(&self) -> PathBuf {
        self.dir.path().join("modules")
    }

    /// The artefact directory: in the target directory, so that tests compile each module only
    /// once.
    pub fn cache(&self) -> PathBuf {
        self.cache.clone()
    }

    /// A path private to this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A host configuration for these directories.
    pub fn config(&self) -> Config {
        Config::new(self.modules(), self.cache(), &self.compiler)
    }

    /// The same with a compiler that is this shell script. It is beside the link that runs it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn scripted(&self, script: &str) -> Config {
        std::fs::write(self.path("does"), script).expect("the directory is ours");
        let compiler = self.path("compiler");
        // An earlier script of the test has made it.
        let _ = std::os::unix::fs::symlink(SCRIPTED, &compiler);
        Config::new(self.modules(), self.cache(), compiler)
    }

    /// Loads the policies.
    pub async fn load(&self) -> PolicyHost {
        PolicyHost::load(self.config()).await
    }
}

/// Waits for another thread or process.
///
/// # Panics
/// When `holds` stays false for a minute.
pub async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waited.expect("it comes to hold");
}

/// The configuration of a witness with these `actions` by hook, plus the keys of `rest`.
///
/// # Panics
/// When `rest` is not an object.
pub fn witness(actions: &Value, rest: &Value) -> Value {
    let mut config = json!({"settings": actions});
    let keys = rest.as_object().expect("it is an object").clone();
    if let Some(config) = config.as_object_mut() {
        config.extend(keys);
    }
    config
}

/// Codes and messages of the report's findings.
pub fn findings(report: &Report) -> Vec<(&str, &str)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.code.as_str(), finding.message.as_str()))
        .collect()
}

/// Why a host's only policy is not loaded.
///
/// # Panics
/// When the host has no policy, or has loaded it.
pub fn trouble(host: &PolicyHost) -> String {
    only(host).last_error.expect("the policy has an error")
}

/// A host's only policy.
///
/// # Panics
/// When the host has none or several.
pub fn only(host: &PolicyHost) -> PolicyInfo {
    let mut policies = host.current().policies();
    assert_eq!(policies.len(), 1, "{policies:?}");
    policies.remove(0)
}

/// Reloads in the background whenever the directories change; abort the task at the end.
pub fn watching(host: &Arc<PolicyHost>) -> JoinHandle<io::Result<Infallible>> {
    let host = Arc::clone(host);
    tokio::spawn(async move { host.watch().await })
}

/// The facts of a request for the pod `web-1` of a namespace.
pub fn facts(command: Command, namespace: &str) -> RequestFacts {
    RequestFacts {
        command,
        container_id: "0123456789abcdef".to_owned(),
        pod: Some(PodRef {
            namespace: namespace.to_owned(),
            name: "web-1".to_owned(),
            uid: "11111111-2222-3333-4444-555555555555".to_owned(),
        }),
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        annotations: BTreeMap::new(),
        pod_spec: policy_engine::PodSpec::default(),
        namespace_labels: Some(BTreeMap::new()),
        node_name: "node-1".to_owned(),
    }
}

/// Begins an ADD for the pod `web-1` of namespace `default`.
pub fn add(host: &PolicyHost) -> Session {
    host.current().begin(facts(Command::Add, "default"))
}

/// The conf of [`storage`].
pub const CONF: &str = r#"{"cniVersion":"1.0.0","name":"storage","type":"macvlan","capabilities":{"bandwidth":true,"infinibandGUID":true,"ips":true,"portMappings":true},"ipam":{"type":"host-local"},"big":12345678901234567890}"#;

/// A pod's second network.
///
/// # Panics
/// Never: its conf is well-formed.
pub fn storage() -> PolicyAttachment {
    PolicyAttachment {
        network: "default/storage".to_owned(),
        if_name: "net1".to_owned(),
        is_default: false,
        selection: None,
        conf: Document::parse(CONF, Limits::default()).expect("it is JSON"),
        ips: Vec::new(),
        mac: None,
        bandwidth: None,
        port_mappings: Vec::new(),
        infiniband_guid: None,
        cni_args: None,
        fixed: policy_engine::Fixed::default(),
        skipped: false,
    }
}

/// A pod's default network.
pub fn cluster() -> PolicyAttachment {
    PolicyAttachment {
        network: "cluster".to_owned(),
        if_name: "eth0".to_owned(),
        is_default: true,
        ..storage()
    }
}

/// A selection of a network of namespace `default`.
pub fn selection(name: &str) -> Selection {
    Selection {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        ..Selection::default()
    }
}

/// A delegate's result.
///
/// # Panics
/// Never: it is well-formed.
pub fn answer() -> CniResult {
    let json = r#"{"cniVersion":"1.0.0",
        "interfaces":[{"name":"eth0","mac":"0a:00:00:00:00:01","sandbox":"/run/netns/a"}],
        "ips":[{"address":"10.1.0.2/16","gateway":"10.1.0.1","interface":0}],
        "routes":[{"dst":"0.0.0.0/0"}],
        "dns":{"nameservers":["10.0.0.1"]}}"#;
    let version = ConfVersion::parse("1.0.0").expect("it is a version");
    CniResult::parse(json.as_bytes(), version).expect("it is a result")
}

/// A stored result with a tag.
pub fn stored() -> Outcome {
    Outcome {
        tags: BTreeMap::from([("tier".to_owned(), "gold".to_owned())]),
        ..Outcome::new(answer())
    }
}

/// JSON text at a pointer into an attachment's conf.
pub fn conf_at(attachment: &PolicyAttachment, pointer: &str) -> Option<String> {
    Some(
        attachment
            .conf
            .get(&Pointer::parse(pointer).ok()?)?
            .to_string(),
    )
}

/// JSON text of one of an attachment's CNI args.
pub fn arg(attachment: &PolicyAttachment, key: &str) -> Option<String> {
    let args = attachment.cni_args.as_ref()?;
    Some(args.get(&Pointer::root().child(key))?.to_string())
}

/// Names of the files in a directory.
pub fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
