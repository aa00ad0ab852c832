//! `cnidaria attachments`: lists which pods are attached to which networks, from the daemon or from
//! disk.

use std::error::Error;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use libcni::Cache;
use libcni::cache::Entry;
use shim_api::admin::{AttachmentList, AttachmentState, Collected, ListedAttachment, Pod, rfc3339};
use shim_api::endpoint;

use crate::args::{Args, Format};
use crate::output;
use crate::output::Column;
use node_cli::daemon;

/// Minimum length of a container id in the table, as in other tools; longer if needed to be unique.
const ID_CHARS: usize = 13;

/// The attachments in the daemon's ledger or, if the daemon is down, in `cni_dir`.
pub(crate) fn list(args: &Args, cni_dir: Option<&Path>) -> Result<String, Box<dyn Error>> {
    let asked = daemon::get(&args.socket_dir(), endpoint::ATTACHMENTS);
    let list = match (asked, cni_dir) {
        (Err(error @ daemon::Error::Away { .. }), Some(cni_dir)) => {
            output::note(&format!(
                "cnidaria: {error}; reading {}\n",
                cni_dir.display()
            ));
            from_disk(cni_dir)?
        }
        (asked, _) => asked?,
    };
    match args.output {
        Format::Json => Ok(output::json(&list)?),
        Format::Table if list == AttachmentList::default() => Ok("no attachments\n".to_owned()),
        #[expect(clippy::disallowed_methods, reason = "an age, as it is shown")]
        Format::Table => Ok(table(&list, SystemTime::now())),
    }
}

/// Reads the result cache. Prints an error for each invalid file.
fn from_disk(cni_dir: &Path) -> Result<AttachmentList, Box<dyn Error>> {
    // The cache treats a missing directory as empty; here it is probably a typo.
    std::fs::metadata(cni_dir).map_err(|error| format!("{}: {error}", cni_dir.display()))?;
    let (entries, errors) = Cache::new(cni_dir).list()?;
    for error in errors {
        output::note(&output::error(&error));
    }
    let cache = Cache::new(cni_dir);
    let mut attachments: Vec<_> = entries
        .into_iter()
        .map(|entry| attachment(entry, &cache))
        .collect();
    attachments.sort_by(|a, b| key(a).cmp(&key(b)));
    Ok(AttachmentList {
        attachments,
        ..AttachmentList::default()
    })
}

fn attachment(entry: Entry, cache: &Cache) -> ListedAttachment {
    let since = added_at(&entry, cache);
    let argument = |key| entry.args.get(key).unwrap_or_default().to_owned();
    ListedAttachment {
        container_id: entry.key.container_id.to_string(),
        pod: Pod {
            namespace: argument("K8S_POD_NAMESPACE"),
            name: argument("K8S_POD_NAME"),
            uid: argument("K8S_POD_UID"),
        },
        network: entry.key.network.to_string(),
        if_name: entry.key.if_name.to_string(),
        netns: entry.netns.clone(),
        state: AttachmentState::Attached,
        since_unix_seconds: since,
        since: since.map(rfc3339),
        cni_dir: None,
    }
}

/// When an attachment was made: as the daemon recorded it or, for those of Multus, when its result
/// was written.
fn added_at(entry: &Entry, cache: &Cache) -> Option<u64> {
    let recorded: Option<u64> = entry.own.get_as("addedAt").ok().flatten();
    recorded.or_else(|| {
        let path = cache.path(&entry.key);
        let written = path.symlink_metadata().ok()?.modified().ok()?;
        let since = written.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    })
}

/// Sorts by pod, with the default network's interface before `net1` and so on.
fn key(attachment: &ListedAttachment) -> (&str, &str, &str, &str) {
    (
        &attachment.pod.namespace,
        &attachment.pod.name,
        &attachment.container_id,
        &attachment.if_name,
    )
}

fn table(list: &AttachmentList, now: SystemTime) -> String {
    let id_chars = id_chars(list);
    let has_dirs = has_several_dirs(list);
    let rows = list.attachments.iter().map(|attachment| {
        let mut row = vec![
            or_dash(&attachment.pod.namespace),
            or_dash(&attachment.pod.name),
            attachment.if_name.clone(),
            attachment.network.clone(),
            state(&attachment.state).to_owned(),
            output::age(attachment.since_unix_seconds, now),
            attachment.container_id.chars().take(id_chars).collect(),
        ];
        if has_dirs {
            row.push(or_dash(attachment.cni_dir.as_deref().unwrap_or_default()));
        }
        row
    });
    let mut columns = vec![
        Column::Whole("NAMESPACE"),
        Column::Broken("POD"),
        Column::Whole("INTERFACE"),
        Column::Broken("NETWORK"),
        Column::Whole("STATE"),
        Column::Whole("AGE"),
        Column::Whole("CONTAINER"),
    ];
    if has_dirs {
        columns.push(Column::Broken("DIRECTORY"));
    }
    let undos = list.attachments.iter().filter_map(note);
    let damaged = list.unreadable.iter().map(|one| {
        let note = format!("container {}: {}", one.container_id, one.reason);
        output::plain(&note) + "\n"
    });
    let collected = list.collected.iter().map(|one| collected(one, now));
    let notes: String = undos.chain(damaged).chain(collected).collect();
    let table = output::table(&columns, rows.collect());
    if notes.is_empty() {
        table
    } else {
        format!("{table}\n{notes}")
    }
}

/// Whether the attachments are in more than one directory.
fn has_several_dirs(list: &AttachmentList) -> bool {
    let mut dirs = list.attachments.iter().map(|one| &one.cni_dir);
    let first = dirs.next();
    dirs.any(|dir| Some(dir) != first)
}

/// Length of a unique prefix of the ids; `forget` accepts prefixes.
fn id_chars(list: &AttachmentList) -> usize {
    let attached = list.attachments.iter().map(|one| &*one.container_id);
    let unreadable = list.unreadable.iter().map(|one| &*one.container_id);
    let mut ids: Vec<&str> = attached.chain(unreadable).collect();
    ids.sort_unstable();
    ids.dedup();
    let common = |a: &str, b: &str| a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let pairs = ids.iter().zip(ids.iter().skip(1));
    pairs.fold(ID_CHARS, |most, (a, b)| most.max(common(a, b) + 1))
}

fn state(state: &AttachmentState) -> &'static str {
    match state {
        AttachmentState::Attached => "attached",
        AttachmentState::UndoPending { .. } => "undo-pending",
        AttachmentState::Unknown => "?",
    }
}

/// Why an attachment is not undone yet.
fn note(attachment: &ListedAttachment) -> Option<String> {
    let AttachmentState::UndoPending { reason, retries } = &attachment.state else {
        return None;
    };
    let Pod {
        namespace, name, ..
    } = &attachment.pod;
    let attempts = if *retries == 1 { "attempt" } else { "attempts" };
    let note = format!(
        "{namespace}/{name} {}: not undone after {retries} {attempts}: {reason}",
        attachment.if_name
    );
    Some(output::plain(&note) + "\n")
}

/// What the daemon collected, and when.
fn collected(one: &Collected, now: SystemTime) -> String {
    let age = output::age(Some(one.at_unix_seconds), now);
    let Collected {
        container_id,
        network,
        ..
    } = one;
    let what = match (&one.pod, &one.if_name, &one.address) {
        (Some(pod), Some(if_name), _) => format!("{}/{} {if_name}", pod.namespace, pod.name),
        (_, _, Some(address)) => format!("address {address}"),
        _ => "something".to_owned(),
    };
    let note = format!(
        "collected {age} ago: {what} of network {network}: the runtime has no sandbox {container_id}"
    );
    output::plain(&note) + "\n"
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn list(attached: &[(&str, Option<&str>)]) -> AttachmentList {
        let attachments = attached.iter().map(|(id, dir)| ListedAttachment {
            container_id: (*id).to_owned(),
            pod: Pod::default(),
            network: "n".to_owned(),
            if_name: "eth0".to_owned(),
            netns: String::new(),
            state: AttachmentState::Attached,
            since_unix_seconds: None,
            since: None,
            cni_dir: dir.map(str::to_owned),
        });
        AttachmentList {
            attachments: attachments.collect(),
            ..AttachmentList::default()
        }
    }

    #[test]
    fn containers_with_similar_ids_stay_distinct() {
        let shown = |ids: &[&str]| {
            let attached: Vec<_> = ids.iter().map(|id| (*id, None)).collect();
            let table = table(&list(&attached), UNIX_EPOCH);
            let rows = table.lines().skip(1).filter_map(|row| {
                let id = row.split_whitespace().last();
                id.map(str::to_owned)
            });
            rows.collect::<Vec<_>>()
        };
        let ids = ["sandbox-shop-ba", "sandbox-shop-a", "sandbox-shop-bb"];
        assert_eq!(shown(&ids), ids);
        let interfaces = ["0123456789abcdef", "0123456789abcdef"];
        assert_eq!(shown(&interfaces), ["0123456789abc", "0123456789abc"]);
    }

    #[test]
    fn directories_are_shown_where_there_are_several() {
        let of = |dirs: [&str; 2]| {
            let attached = dirs.map(|dir| ("c", Some(dir)));
            table(&list(&attached), UNIX_EPOCH)
        };
        assert!(!of(["/a", "/a"]).contains("/a"));
        let table = of(["/a", "/b"]);
        let mut lines = table.lines();
        assert!(lines.next().unwrap().ends_with("CONTAINER  DIRECTORY"));
        assert!(lines.next().unwrap().ends_with("c          /a"), "{table}");
    }

    #[test]
    fn what_was_collected_is_shown_with_its_age() {
        let list = AttachmentList {
            collected: vec![
                Collected {
                    container_id: "c1".to_owned(),
                    pod: Some(Pod {
                        namespace: "shop".to_owned(),
                        name: "web".to_owned(),
                        uid: String::new(),
                    }),
                    network: "shop/blue".to_owned(),
                    if_name: Some("net1".to_owned()),
                    ..Collected::default()
                },
                Collected {
                    container_id: "c2".to_owned(),
                    network: "blue".to_owned(),
                    address: Some("10.0.0.2".to_owned()),
                    ..Collected::default()
                },
            ],
            ..AttachmentList::default()
        };
        let table = table(&list, UNIX_EPOCH + std::time::Duration::from_secs(150));
        let shown: Vec<_> = table.lines().skip(2).collect();
        let expected = [
            "collected 2m ago: shop/web net1 of network shop/blue: the runtime has no sandbox c1",
            "collected 2m ago: address 10.0.0.2 of network blue: the runtime has no sandbox c2",
        ];
        assert_eq!(shown, expected);
    }
}
