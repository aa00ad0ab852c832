//! `cnidaria attachments forget`: the operator's last resort if no DEL can undo an attachment.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use shim_api::admin::{AttachmentList, AttachmentState, Forget, ListedAttachment, Unreadable};
use shim_api::endpoint;

use crate::args::Args;
use crate::output;
use node_cli::daemon;

/// Lists what will be forgotten and may be left behind, asks unless `yes`, and makes the daemon
/// forget it.
pub(crate) fn forget(
    args: &Args,
    container: &str,
    if_name: Option<&str>,
    dir: Option<&Path>,
    yes: bool,
) -> Result<String, Box<dyn Error>> {
    let list: AttachmentList = daemon::get(&args.socket_dir(), endpoint::ATTACHMENTS)?;
    let container = whole_id(&list, container)?;
    let dir = dir.map(|dir| dir.display().to_string());
    let is_in = |one: &Option<String>| dir.is_none() || *one == dir;
    let is_meant = |one: &&ListedAttachment| {
        let is_interface = if_name.is_none_or(|name| one.if_name == name);
        one.container_id == container && is_interface && is_in(&one.cni_dir)
    };
    let meant: Vec<_> = list.attachments.iter().filter(is_meant).collect();
    let is_it = |one: &&Unreadable| one.container_id == container && is_in(&one.cni_dir);
    let damaged = list.unreadable.iter().find(is_it);
    refuse_several(container, &meant, damaged)?;
    if meant.is_empty() && damaged.is_none() {
        return Err(format!(
            "container {container} has no interface {} in the ledger",
            if_name.unwrap_or_default()
        )
        .into());
    }
    output::note(&description(&meant, damaged));
    if !yes && !is_agreed()? {
        return Err("nothing is forgotten".into());
    }
    let request = Forget {
        container_id: container.to_owned(),
        if_name: if_name.map(str::to_owned),
        cni_dir: dir,
    };
    let forgotten: AttachmentList = daemon::post(&args.socket_dir(), endpoint::FORGET, &request)?;
    let lines = forgotten.attachments.iter().map(|one| {
        let line = format!("forgot {} of container {container}", one.if_name);
        output::plain(&line) + "\n"
    });
    let text: String = lines.collect();
    match text.is_empty() {
        true => Ok(output::plain(&format!("forgot container {container}")) + "\n"),
        false => Ok(text),
    }
}

/// Rejects a choice that means several directories: the container that runs in one must not be
/// forgotten with what another still has of an earlier use of its id.
fn refuse_several(
    container: &str,
    meant: &[&ListedAttachment],
    damaged: Option<&Unreadable>,
) -> Result<(), String> {
    let mut dirs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for one in meant {
        let state = match one.state {
            AttachmentState::UndoPending { .. } => "undo-pending",
            _ => "attached",
        };
        let dir = one.cni_dir.as_deref().unwrap_or_default();
        let has = dirs.entry(dir).or_default();
        has.push(format!("{} {state}", one.if_name));
    }
    if let Some(one) = damaged {
        let dir = one.cni_dir.as_deref().unwrap_or_default();
        dirs.entry(dir).or_default().push("damaged".to_owned());
    }
    if dirs.len() < 2 {
        return Ok(());
    }
    let choices = dirs.iter().map(|(dir, has)| {
        let has = has.join(", ");
        format!("--dir {dir} ({has})")
    });
    let choices: Vec<String> = choices.collect();
    Err(format!(
        "container {container} is recorded in several directories; choose one: {}",
        choices.join(", ")
    ))
}

/// The only container whose id starts with `beginning`: tables show truncated ids.
fn whole_id<'a>(list: &'a AttachmentList, beginning: &str) -> Result<&'a str, String> {
    let attached = list.attachments.iter().map(|one| one.container_id.as_str());
    let damaged = list.unreadable.iter().map(|one| one.container_id.as_str());
    let mut ids: Vec<&str> = attached
        .chain(damaged)
        .filter(|id| id.starts_with(beginning))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    match ids[..] {
        [id] => Ok(id),
        [] => Err(format!("the ledger has no container {beginning:?}")),
        // Sorted: an id that is the beginning of others is the first.
        [first, ..] if first == beginning => Ok(first),
        _ => Err(format!(
            "the ids of {} containers begin with {beginning:?}: {}",
            ids.len(),
            ids.join(", ")
        )),
    }
}

fn description(meant: &[&ListedAttachment], damaged: Option<&Unreadable>) -> String {
    let mut text = String::new();
    for one in meant {
        let pod = format!("{}/{}", one.pod.namespace, one.pod.name);
        let state = match &one.state {
            AttachmentState::UndoPending { reason, retries } => {
                let attempts = if *retries == 1 { "attempt" } else { "attempts" };
                format!("not undone after {retries} {attempts}: {reason}")
            }
            _ => "attached, as far as the daemon knows: no DEL will take it away".to_owned(),
        };
        let line = format!(
            "{} of network {} in pod {pod}: {state}",
            one.if_name, one.network
        );
        let _ = writeln!(text, "{}", output::plain(&line));
    }
    if let Some(one) = damaged {
        let _ = writeln!(text, "{}", output::plain(&one.reason));
    }
    text + "\
The daemon forgets this and undoes nothing. What may be left on the node, for you to remove:
the interface and its peer on the host, addresses that its IPAM plugin has reserved
(/var/lib/cni/networks for host-local), and rules of the firewall, portmap and bandwidth plugins.
"
}

/// Asks for confirmation on the terminal.
fn is_agreed() -> Result<bool, Box<dyn Error>> {
    let input = io::stdin();
    if !input.is_terminal() || !io::stderr().is_terminal() {
        return Err("without a terminal to ask on, this needs --yes".into());
    }
    output::note("Forget it? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    let answer = answer.trim().to_lowercase();
    Ok(answer == "y" || answer == "yes")
}
