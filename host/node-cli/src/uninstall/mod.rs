//! `cnidaria uninstall`. The runtime's conf goes first, so that new pods start with the primary
//! network alone. Then recorded DELs and pending undos are finished, by the running daemon or one
//! that is started for it. The shim goes last: runtimes that remember a pod's conf, such as CRI-O,
//! execute it for the DEL, so it stays while the ledger has attachments.

mod cluster;
mod ledger;
mod temporary;

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use config::daemon::{self as configuration, DaemonConfig};
use rustix::fs::StatVfsMountFlags;
use shim_api::admin::Left;
use shim_api::endpoint;

use crate::args::UninstallArgs;
use crate::install::{SHIM_NAMES, is_our_shim, no_module};
use crate::installation::{Installation, Taken};
use crate::runtime_conf::{self, Removed};
use crate::{Output, daemon};
use temporary::Temporary;

/// Exit code if attachments are left, so that the shim stays.
pub(crate) const ATTACHED: u8 = 4;
/// Poll interval while recorded DELs are carried out.
const POLL: Duration = Duration::from_millis(200);

/// Uninstalls. Can be repeated, and continues where it ended.
///
/// # Errors
/// A file cannot be removed, or the daemon cannot be asked.
pub fn uninstall(
    args: &UninstallArgs,
    socket_dir: Option<&Path>,
) -> Result<Output, Box<dyn Error>> {
    let config = load(&args.config)?;
    if let Some(daemon_set) = &args.daemon_set {
        let patience = Duration::from_secs(args.timeout);
        return cluster::delete(&config, daemon_set, patience);
    }
    let socket_dir = socket_dir.unwrap_or(&config.socket_dir);
    let mut text = String::new();
    let (left, serves) = match leave(socket_dir, args) {
        Ok(left) => {
            if let Some(conf) = &left.conf {
                let _ = writeln!(text, "the daemon removed {conf}");
            }
            (left, true)
        }
        Err(daemon::Error::Away { .. }) => {
            let removed = remove_conf(&config, &args.bin_dir)?;
            text += &removed;
            (finish(&config, args)?, false)
        }
        Err(error) => return Err(error.into()),
    };
    let stays = left.attached + left.undo_pending + left.deferred + left.unreadable;
    if stays > 0 && !args.force {
        text += &remains(&left);
        return Ok(Output {
            text,
            code: ATTACHED,
        });
    }
    let shims = Installation::in_dir(&args.bin_dir).take_away(&SHIM_NAMES, is_our_shim)?;
    let modules = match writable(&args.policies_dir, &config) {
        Some(dir) => Installation::in_dir(&dir).take_away(&[], no_module)?,
        None => {
            let dir = args.policies_dir.display();
            let _ = writeln!(
                text,
                "the modules in {dir} stay: it is mounted read-only here"
            );
            Vec::new()
        }
    };
    for (path, taken) in shims.iter().chain(&modules) {
        let what = match taken {
            Taken::Removed => "removed",
            Taken::Restored => "put back the earlier",
            Taken::Foreign => "another program has replaced, so it stays:",
        };
        let _ = writeln!(text, "{what} {}", path.display());
    }
    if serves {
        text += "the daemon still runs, and provides its conf again after a restart: delete its \
                 DaemonSet, then repeat this command to remove its data\n";
        return Ok(Output { text, code: 0 });
    }
    if stays == 0 {
        ledger::remove(&config)?;
    }
    remove_data(&config)?;
    text += &cluster::delete_policy_status(&config);
    text += "uninstalled\n";
    Ok(Output { text, code: 0 })
}

/// The daemon's configuration; without a file, its defaults.
fn load(path: &Path) -> Result<DaemonConfig, Box<dyn Error>> {
    match DaemonConfig::load(path) {
        Err(configuration::Error::Read { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            let defaults = br#"{"multusConfigFile":"auto","cniVersion":"1.0.0"}"#;
            Ok(DaemonConfig::parse(defaults)?)
        }
        loaded => loaded.map_err(|error| {
            let chain = cnidaria_core::report::chain(&error);
            format!("{}: {chain}", path.display()).into()
        }),
    }
}

/// Makes the daemon leave, and waits until nothing recorded is left that it can carry out.
fn leave(socket_dir: &Path, args: &UninstallArgs) -> Result<Left, daemon::Error> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let left: Left = daemon::post(socket_dir, endpoint::LEAVE, &())?;
        if left.deferred + left.undo_pending == 0 || Instant::now() >= deadline {
            return Ok(left);
        }
        std::thread::sleep(POLL);
    }
}

/// Removes the conf of a daemon that does not run, unless it executes another program's shim.
fn remove_conf(config: &DaemonConfig, bin_dir: &Path) -> Result<String, Box<dyn Error>> {
    let foreign = |path: &Path| {
        format!(
            "{} stays: it does not execute this installation's shim\n",
            path.display()
        )
    };
    let shim = SHIM_NAMES.map(|name| bin_dir.join(name));
    let is_foreign = |path: &PathBuf| {
        let content = files::read(path, files::Links::Follow, u64::from(u32::MAX));
        content.is_ok_and(|content| !is_our_shim(&content))
    };
    if let Some(conf) = config.conf_file.target()
        && shim.first().is_some_and(is_foreign)
    {
        return Ok(foreign(&conf));
    }
    let failed = |error: io::Error| format!("cannot remove the runtime's conf: {error}");
    Ok(
        match runtime_conf::remove(&config.conf_file).map_err(failed)? {
            Removed::Absent => String::new(),
            Removed::Gone(path) => format!("removed {}\n", path.display()),
            Removed::Foreign(path) => foreign(&path),
        },
    )
}

/// Finishes what the ledger has, with a daemon of our own if there is anything.
fn finish(config: &DaemonConfig, args: &UninstallArgs) -> Result<Left, Box<dyn Error>> {
    if !ledger::is_used(config)? {
        return Ok(Left::default());
    }
    let program = match &args.daemon {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("cnidaria-daemon"),
    };
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    let mut daemon = Temporary::start(&program, &args.config)?;
    let left = loop {
        match leave(&config.socket_dir, args) {
            Err(daemon::Error::Away { .. }) if Instant::now() < deadline => {
                daemon.require_running()?;
                std::thread::sleep(POLL);
            }
            left => break left,
        }
    };
    daemon.end()?;
    Ok(left?)
}

/// What is left and how to go on.
fn remains(left: &Left) -> String {
    let mut text = String::from("the shim stays, since the ledger still has\n");
    let parts = [
        (left.attached, "attachments of running pods"),
        (
            left.undo_pending,
            "attachments that cannot be undone yet: `cnidaria attachments` shows why",
        ),
        (
            left.deferred,
            "recorded DELs that cannot be carried out yet",
        ),
        (
            left.unreadable,
            "containers with damaged records: `cnidaria attachments` lists them",
        ),
    ];
    for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(text, "  {count} {what}");
    }
    text + "Repeat this command when these pods are gone: it then undoes their attachments and \
            removes the shim.\nWith --force the shim goes now; what plugins reserved for them, \
            such as addresses, stays on the node.\n"
}

/// A directory with installed files in which they can be removed. The daemon's container has the
/// modules mounted read-only, and the node's root directory besides. `None` if neither is writable.
fn writable(dir: &Path, config: &DaemonConfig) -> Option<PathBuf> {
    let is_read_only = rustix::fs::statvfs(dir)
        .is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY));
    if !is_read_only || !Installation::in_dir(dir).has_record() {
        return Some(dir.to_owned());
    }
    let root = config.chroot_dir.as_ref()?;
    let on_node = root.join(dir.strip_prefix("/").unwrap_or(dir));
    Installation::in_dir(&on_node)
        .has_record()
        .then_some(on_node)
}

/// Removes what daemons keep besides the ledger: compiled policies, their state, a stale socket.
fn remove_data(config: &DaemonConfig) -> Result<(), Box<dyn Error>> {
    let socket = endpoint::socket_path(&config.socket_dir);
    let mut trees = Vec::new();
    if let Some(policies) = &config.own.policies {
        trees.extend([policies.cache.clone(), policies.state.clone()]);
    }
    for tree in trees {
        remove_tree(&tree)?;
        // Fails unless it is empty.
        if let Some(parent) = tree.parent().filter(|dir| dir.ends_with("cnidaria")) {
            let _ = std::fs::remove_dir(parent);
        }
    }
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(format!("cannot remove {}: {error}", socket.display()).into());
        }
        _ => {}
    }
    remove_tenure(&config.socket_dir);
    let _ = std::fs::remove_dir(&config.socket_dir);
    Ok(())
}

/// Removes the files by which a daemon recognises its predecessor and that one's delegates. Best
/// effort: they are below /run, and empty.
fn remove_tenure(socket_dir: &Path) {
    for file in std::fs::read_dir(socket_dir)
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(".daemon") || name.starts_with(".delegates-") {
            let _ = std::fs::remove_file(file.path());
        }
    }
}

fn remove_tree(tree: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(tree) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", tree.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
