//! DELs that shims recorded while the daemon was down, or the daemon before it answered them, a file
//! per container and interface. The daemon creates the directory, which tells shims that recorded DELs
//! will be carried out.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use cni_types::args::ContainerId;
use futures_util::future::BoxFuture;
use shim_api::deferred::{DIR, split_file_name};

use super::{Files, clear, failed, file};
use crate::watch::Watch;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::ports::{DeferredDel, LedgerError};

/// Delegates whose DEL undoes everything even after the namespace is gone. Others need it:
/// `host-device` restores the name of a card that it moved there, `tuning` keeps a file of its
/// changes until it can revert them, and `sbr` fails without a namespace.
const OUTLIVE_NETNS: [&str; 13] = [
    "bandwidth",
    "bridge",
    "firewall",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "passthru",
    "portmap",
    "ptp",
    "static",
    "vlan",
    "vrf",
];
/// Settings with which these delegates leave rules on the node that they can only find by the
/// addresses in the namespace. Go matches keys case-insensitively.
const NEED_NETNS: [&str; 2] = ["ipmasq", "macspoofchk"];

/// Whether all entries can be undone after their namespace is gone. `more` lists further delegates
/// that can.
pub(super) fn outlives_netns(entries: &[Entry], more: &BTreeSet<String>) -> bool {
    let knows = |name: &str| OUTLIVE_NETNS.contains(&name) || more.contains(name);
    let mut plugins = entries.iter().flat_map(|entry| entry.conf.plugins());
    plugins.all(|plugin| {
        let name = plugin.plugin_type().as_str();
        let ipam = plugin.ipam_type().map(|ipam| ipam.as_str());
        let needs = plugin.raw().iter().any(|(key, value)| {
            let is_off = matches!(value.get(), "false" | "null");
            !is_off && NEED_NETNS.contains(&key.to_ascii_lowercase().as_str())
        });
        knows(name) && ipam.is_none_or(knows) && (!needs || more.contains(name))
    })
}

impl Files {
    /// Tells shims whether they may record DELs while the daemon is down. Withdraws the permission
    /// only once all recorded DELs were carried out.
    ///
    /// # Errors
    /// [`LedgerError`]; shims then record no new DELs.
    pub(crate) fn ask_for_deferred(&self, cni_dir: &Path, may: bool) -> Result<(), LedgerError> {
        let mut asked = self.asked.lock();
        let told = match may {
            true => {
                asked.insert(cni_dir.to_owned());
                ask(cni_dir)
            }
            false => {
                asked.remove(cni_dir);
                no_more(cni_dir)
            }
        };
        told.map_err(failed("prepare", &cni_dir.join(DIR)))
    }

    /// Records a DEL that the daemon answers before it is carried out.
    pub(super) async fn defer_del(
        &self,
        cni_dir: &Path,
        record: &DeferredDel,
    ) -> Result<(), LedgerError> {
        clear(&cni_dir.join(DIR), cni_dir);
        ask(cni_dir).map_err(failed("prepare", &cni_dir.join(DIR)))?;
        let path = path(cni_dir, &record.name);
        self.replace(path, record.text.clone()).await
    }

    /// Removes the directory after its last record, unless shims may record DELs.
    pub(super) fn ask_no_more(&self, cni_dir: &Path) {
        let asked = self.asked.lock();
        if !asked.contains(cni_dir) {
            // Fails while it has records.
            let _ = no_more(cni_dir);
        }
    }
}

/// Creates the directory, private to this user, or keeps an existing private one.
///
/// # Errors
/// If it cannot be created, or others can write to it.
pub(super) fn ask(cni_dir: &Path) -> io::Result<()> {
    file::make_private_dir(&cni_dir.join(DIR))
}

/// Removes the directory if it is empty, so that shims record no more DELs.
///
/// # Errors
/// If it is not empty or cannot be removed.
pub(super) fn no_more(cni_dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir(cni_dir.join(DIR)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The containers with recorded DELs.
///
/// # Errors
/// If the directory cannot be read.
pub(super) fn list(cni_dir: &Path) -> io::Result<Vec<ContainerId>> {
    let names = names(cni_dir)?;
    // Names of unfinished files begin with a dot, so they are not valid ids.
    let containers = names
        .iter()
        .filter_map(|name| ContainerId::new(split_file_name(name).0).ok());
    let containers: BTreeSet<ContainerId> = containers.collect();
    Ok(containers.into_iter().collect())
}

/// A container's records, the usual interface's first.
///
/// # Errors
/// [`LedgerError`] if the directory or a record cannot be read.
pub(super) fn dels(
    cni_dir: &Path,
    container: &ContainerId,
) -> Result<Vec<DeferredDel>, LedgerError> {
    let mut names = names(cni_dir).map_err(failed("read", &cni_dir.join(DIR)))?;
    names.retain(|name| split_file_name(name).0 == container.as_str());
    names.sort();
    let mut records = Vec::with_capacity(names.len());
    for name in names {
        let path = path(cni_dir, &name);
        let text = match file::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // No shim writes such a file. Its name alone identifies the container.
            Err(error) if file::is_odd(&error) => Vec::new(),
            read => read.map_err(failed("read", &path))?,
        };
        records.push(DeferredDel { name, text });
    }
    Ok(records)
}

/// Ends at the first change of the directory after this call.
pub(super) fn changed(cni_dir: &Path) -> BoxFuture<'static, Result<(), LedgerError>> {
    let dir = cni_dir.join(DIR);
    let watch = Watch::on([dir.as_path()]);
    Box::pin(async move {
        let changed = match watch {
            Ok(mut watch) => watch.changed().await,
            Err(error) => Err(error),
        };
        changed.map_err(failed("watch", &dir))
    })
}

fn names(cni_dir: &Path) -> io::Result<Vec<String>> {
    let files = match std::fs::read_dir(cni_dir.join(DIR)) {
        Err(error) if files::is_absent(&error) => return Ok(Vec::new()),
        files => files?,
    };
    let mut names = Vec::new();
    for file in files {
        names.extend(file?.file_name().into_string());
    }
    Ok(names)
}

/// Path of a recorded DEL.
pub(super) fn path(cni_dir: &Path, name: &str) -> PathBuf {
    cni_dir.join(DIR).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::conf::NetworkConfList;

    use cnidaria_core::domain::sandbox::Sandbox;
    use cnidaria_core::ports::Ledger as _;

    use config::own::Durability;

    fn check(conf_text: &str, expected: bool) {
        let sandbox = Sandbox::recorded(ContainerId::new("c").unwrap());
        let conf = NetworkConfList::parse_any(conf_text).unwrap();
        let entry = Entry::of(&sandbox, "n", sandbox.if_name.clone(), conf);
        let more = BTreeSet::from(["calico".to_owned()]);
        assert_eq!(outlives_netns(&[entry], &more), expected, "{conf_text}");
    }

    #[test]
    fn only_known_plugins_undo_without_netns() {
        let plugin = |rest: &str| format!(r#"{{"cniVersion":"1.0.0","name":"n",{rest}}}"#);
        check(
            &plugin(r#""type":"bridge","ipam":{"type":"host-local"}"#),
            true,
        );
        check(&plugin(r#""type":"calico","ipam":{"type":"static"}"#), true);
        check(&plugin(r#""type":"bridge","ipMasq":false"#), true);
        check(&plugin(r#""type":"bridge","ipMasq":true"#), false);
        check(&plugin(r#""type":"bridge","IPMASQ":true"#), false);
        check(&plugin(r#""type":"bridge","macspoofchk":true"#), false);
        check(&plugin(r#""type":"macvlan","ipam":{"type":"dhcp"}"#), false);
        check(
            &plugin(r#""type":"host-device"}"#.trim_end_matches('}')),
            false,
        );
        check(
            &plugin(r#""plugins":[{"type":"bridge"},{"type":"sriov"}]"#),
            false,
        );
        check(
            &plugin(r#""plugins":[{"type":"bridge"},{"type":"portmap"}]"#),
            true,
        );
    }

    #[tokio::test]
    async fn odd_records_name_their_container() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Durability::Grouped);
        files.ask_for_deferred(dir.path(), true).unwrap();
        let container = ContainerId::new("c").unwrap();
        let record = path(dir.path(), "c");
        let dangling = || std::os::unix::fs::symlink("nowhere", &record);
        let directory = || std::fs::create_dir(&record);
        for make in [&dangling as &dyn Fn() -> io::Result<()>, &directory] {
            make().unwrap();
            let records = files.deferred_dels(dir.path(), &container).await.unwrap();
            assert_eq!(records.len(), 1);
            files.forget_deferred(dir.path(), &container).await.unwrap();
            let records = files.deferred_dels(dir.path(), &container).await.unwrap();
            assert!(records.is_empty());
        }
    }

    #[tokio::test]
    async fn shims_record_only_where_they_are_asked() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Durability::Grouped);
        let container = ContainerId::new("c").unwrap();
        let record = DeferredDel {
            name: "c".to_owned(),
            text: b"{}".to_vec(),
        };
        // The daemon's own record must not leave the directory, which shims take as a wish.
        for may in [false, true] {
            files.ask_for_deferred(dir.path(), may).unwrap();
            files.defer(dir.path(), &record).await.unwrap();
            let records = files.deferred_dels(dir.path(), &container).await.unwrap();
            assert_eq!(records, std::slice::from_ref(&record));
            files.forget_deferred(dir.path(), &container).await.unwrap();
            assert_eq!(dir.path().join(DIR).exists(), may);
        }
    }

    #[tokio::test]
    async fn only_a_directory_has_records() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Durability::Grouped);
        let own = dir.path().join(DIR);
        let file = || std::fs::write(&own, "");
        let looping = || std::os::unix::fs::symlink(DIR, &own);
        for make in [&file as &dyn Fn() -> io::Result<()>, &looping] {
            make().unwrap();
            let container = ContainerId::new("c").unwrap();
            assert_eq!(files.deferred(dir.path()).await.unwrap(), []);
            files.forget_deferred(dir.path(), &container).await.unwrap();
            files.sweep(dir.path()).unwrap();
            ask(dir.path()).unwrap();
            std::fs::remove_dir(&own).unwrap();
        }
    }

    #[tokio::test]
    async fn a_recorded_del_ends_the_watch() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Durability::Grouped);
        let missing = files.deferred_changed(dir.path()).await;
        assert!(matches!(missing, Err(LedgerError::Io { .. })));
        ask(dir.path()).unwrap();
        let changed = files.deferred_changed(dir.path());
        let container = ContainerId::new("c").unwrap();
        std::fs::write(path(dir.path(), "c"), "{}").unwrap();
        changed.await.unwrap();
        assert_eq!(files.deferred(dir.path()).await.unwrap(), [container]);
    }
}
