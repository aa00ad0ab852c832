use std::os::unix::fs::symlink;

use super::*;
use cni_types::args::{ContainerId, IfName};
use cni_types::conf::NetworkConfList;
use cni_types::json::RawObject;

use cnidaria_core::domain::sandbox::Sandbox;

const PCI: &str =
    r#"{ "type": "pci", "version": "1.1.0", "pci": { "pci-address": "0000:01:02.2" } }"#;

struct Rig {
    dir: tempfile::TempDir,
    files: Files,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().join("devinfo"), None);
        Self { dir, files }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("devinfo").join(path)
    }

    /// Writes a device plugin's description.
    fn say(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.at("dp")).unwrap();
        std::fs::write(self.at("dp").join(name), text).unwrap();
    }

    async fn read(&self, path: &str) -> Option<String> {
        Some(self.files.read(path).await?.get().to_owned())
    }
}

fn device(resource: &str, id: &str) -> Device {
    Device {
        resource_name: resource.into(),
        id: id.into(),
    }
}

#[tokio::test]
async fn device_plugin_file_is_copied_verbatim() {
    let rig = Rig::new();
    rig.say("intel.com-sriov-0000:01:02.2-device.json", PCI);
    let path = rig.files.path("default/net-c_net1");
    assert_eq!(Path::new(&path), rig.at("cni/default-net-c_net1"));
    let device = device("intel.com/sriov", "0000:01:02.2");
    rig.files.prepare(&path, Some(&device)).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), PCI);
    assert_eq!(
        rig.read(&path).await.as_deref(),
        Some(r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:02.2"}}"#)
    );
    rig.files.remove(&path).await.unwrap();
    rig.files.remove(&path).await.unwrap();
    assert_eq!(std::fs::read_dir(rig.at("cni")).unwrap().count(), 0);
}

#[tokio::test]
async fn delegate_may_write_its_own_device_info() {
    let rig = Rig::new();
    let path = rig.files.path("n-c_net1");
    rig.files.prepare(&path, Some(&device("a/x", "1"))).await;
    assert_eq!(rig.read(&path).await, None, "the delegate wrote nothing");
    std::fs::create_dir_all(rig.at("cni")).unwrap();
    std::fs::write(&path, r#"{"type":"memif"}"#).unwrap();
    assert_eq!(
        rig.read(&path).await.as_deref(),
        Some(r#"{"type":"memif"}"#)
    );
    rig.files.prepare(&path, None).await;
    assert!(!Path::new(&path).exists(), "what an earlier ADD left");
}

#[tokio::test]
async fn invalid_device_info_is_ignored() {
    let rig = Rig::new();
    let large = format!(r#"{{"type":"pci","x":"{}"}}"#, "x".repeat(LIMITS.max_bytes));
    let deep = format!(
        r#"{{"type":"pci","x":{}1{}}}"#,
        "[".repeat(99),
        "]".repeat(99)
    );
    for text in [
        "",
        "[]",
        "{}",
        r#"{"type":7}"#,
        "{\"type\":\"\u{0}\"",
        &large,
        &deep,
    ] {
        rig.say("a-x-1-device.json", text);
        let path = rig.files.path("n-c_net1");
        rig.files.prepare(&path, Some(&device("a/x", "1"))).await;
        assert!(!Path::new(&path).exists(), "{text}");
        std::fs::create_dir_all(rig.at("cni")).unwrap();
        std::fs::write(&path, text).unwrap();
        assert_eq!(rig.read(&path).await, None, "{text}");
    }
}

#[tokio::test]
async fn hostile_names_stay_inside_the_directory() {
    let rig = Rig::new();
    let secret = rig.dir.path().join("secret-device.json");
    std::fs::write(&secret, PCI).unwrap();
    rig.say("unrelated", "");
    let long = "x".repeat(5000);
    for (resource, id) in [
        ("..", "/../../secret"),
        ("../../secret", ""),
        ("/", "/"),
        ("a\0", "b\n"),
        (&*long, &*long),
    ] {
        let path = rig.files.path(&format!("{resource}-{id}"));
        let inside = Path::new(&path).parent() == Some(&rig.at("cni"));
        assert!(inside && path.len() < 4096, "{path}");
        rig.files.prepare(&path, Some(&device(resource, id))).await;
        assert_eq!(rig.read(&path).await, None, "{resource} {id}");
    }
    assert!(secret.exists());
}

#[tokio::test]
async fn links_are_not_followed() {
    let rig = Rig::new();
    let secret = rig.dir.path().join("secret");
    std::fs::write(&secret, PCI).unwrap();
    rig.say("unrelated", "");
    symlink(&secret, rig.at("dp/a-x-1-device.json")).unwrap();
    std::fs::create_dir_all(rig.at("cni")).unwrap();
    let path = rig.files.path("n-c_net1");
    symlink(&secret, &path).unwrap();
    assert_eq!(rig.read(&path).await, None);
    rig.files.prepare(&path, Some(&device("a/x", "1"))).await;
    assert_eq!(rig.read(&path).await, None);
    // A link in place of the attachment's file is replaced, and its target left alone.
    std::fs::remove_file(rig.at("dp/a-x-1-device.json")).unwrap();
    rig.say("a-x-1-device.json", r#"{"type":"vdpa"}"#);
    symlink(&secret, &path).unwrap();
    rig.files.prepare(&path, Some(&device("a/x", "1"))).await;
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        r#"{"type":"vdpa"}"#
    );
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), PCI);
    // A directory that is a link is rejected.
    std::fs::remove_dir_all(rig.at("cni")).unwrap();
    std::fs::create_dir(rig.dir.path().join("other")).unwrap();
    std::fs::write(rig.dir.path().join("other/n-c_net1"), PCI).unwrap();
    symlink(rig.dir.path().join("other"), rig.at("cni")).unwrap();
    assert_eq!(rig.read(&path).await, None);
    rig.files.remove(&path).await.unwrap_or_default();
    assert!(rig.dir.path().join("other/n-c_net1").exists());
}

#[tokio::test]
async fn a_path_that_is_none_of_ours_is_left_alone() {
    let rig = Rig::new();
    let other = rig.dir.path().join("other");
    std::fs::write(&other, PCI).unwrap();
    let shown = other.display().to_string();
    for path in [
        &*shown,
        &format!("{}/cni/../../other", rig.at("").display()),
    ] {
        assert_eq!(rig.read(path).await, None);
        rig.files.prepare(path, None).await;
        rig.files.remove(path).await.unwrap();
    }
    assert!(other.exists());
}

fn entry(arguments: &str) -> Entry {
    let sandbox = Sandbox::recorded(ContainerId::new("c").unwrap());
    let conf = NetworkConfList::parse_any(r#"{"name":"n","type":"t"}"#).unwrap();
    Entry {
        capability_args: RawObject::parse(arguments).unwrap(),
        ..Entry::of(&sandbox, "default/n", IfName::new("net1").unwrap(), conf)
    }
}

#[test]
fn multus_entry_implies_its_device_info_path() {
    let files = Files::new("/d".into(), None);
    let of = |arguments: &str| files.of_entry(&entry(arguments));
    assert_eq!(of("{}"), None);
    assert_eq!(
        of(r#"{"deviceID":"1"}"#).as_deref(),
        Some("/d/cni/default-n-c_net1")
    );
    assert_eq!(
        of(r#"{"deviceID":"1","CNIDeviceInfoFile":"/d/cni/x"}"#).as_deref(),
        Some("/d/cni/x")
    );
}

#[tokio::test]
async fn below_another_root_the_node_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    let root = match Root::enter(dir.path()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: needs CAP_SYS_CHROOT");
            return;
        }
        entered => entered.unwrap(),
    };
    // As on nodes, where `/var/run` is a link to `/run`.
    std::fs::create_dir_all(dir.path().join("run/devinfo/dp")).unwrap();
    std::fs::create_dir(dir.path().join("var")).unwrap();
    symlink("/run", dir.path().join("var/run")).unwrap();
    let said = dir.path().join("run/devinfo/dp/a-x-1-device.json");
    std::fs::write(said, PCI).unwrap();
    let files = Files::new("/var/run/devinfo".into(), Some(root));
    let path = files.path("n-c_net1");
    assert_eq!(path, "/var/run/devinfo/cni/n-c_net1");
    files.prepare(&path, Some(&device("a/x", "1"))).await;
    let copied = dir.path().join("run/devinfo/cni/n-c_net1");
    assert_eq!(std::fs::read_to_string(&copied).unwrap(), PCI);
    assert!(files.read(&path).await.is_some());
    files.remove(&path).await.unwrap();
    assert!(!copied.exists());
}
