//! Collects the parts of a bundle. One that cannot be had is replaced by the reason.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use config::conf_file::ConfFile;
use config::daemon::DaemonConfig;
use files::Links;
use node_cli::{DoctorArgs, daemon};
use serde_json::{Value, json};
use shim_api::admin::rfc3339;
use shim_api::endpoint;

use super::Part;
use super::configuration;
use super::scrub::Scrubber;
use crate::args::{Args, BundleArgs};

/// The largest file that is read.
const MAX_READ: u64 = 16 << 20;
/// Names of a directory that are listed.
const MAX_NAMES: usize = 2000;
/// Where runtimes usually have their confs.
const CONF_DIR: &str = "/etc/cni/net.d";

/// All parts, the most useful first.
pub(super) fn parts(args: &Args, wanted: &BundleArgs) -> Result<Vec<Part>, Box<dyn Error>> {
    let text = files::read(&wanted.config, Links::Follow, MAX_READ);
    let config = text
        .as_ref()
        .ok()
        .and_then(|text| DaemonConfig::parse(text).ok());
    let (shown, scrubber) = match &text {
        Ok(text) => configuration::redacted(text, config.as_ref()),
        Err(error) => (error.to_string(), Scrubber::default()),
    };
    let socket_dir = args.socket_dir();
    let from_daemon = |path| {
        let answer: Result<Value, _> = daemon::get(&socket_dir, path);
        match answer {
            Ok(value) => scrubber.json(value),
            Err(error) => scrubber.text(&chain(&error)),
        }
    };
    let doctor = DoctorArgs {
        pre: false,
        config: wanted.config.clone(),
        bin_dir: wanted.bin_dir.clone(),
    };
    let doctor = match node_cli::doctor(&doctor, args.given_socket_dir(), true) {
        Ok(found) => match serde_json::from_str(&found.text) {
            Ok(value) => scrubber.json(value),
            Err(error) => error.to_string(),
        },
        Err(error) => chain(&*error),
    };
    let metrics = daemon::get_text(&socket_dir, endpoint::METRICS);
    let metrics = metrics.unwrap_or_else(|error| chain(&error));
    let part = |name, what, content: String| Part {
        name,
        what,
        content: content.into_bytes(),
    };
    Ok(vec![
        part(
            "versions.json",
            "versions of this command, the kernel and the system",
            scrubber.json(versions(wanted)),
        ),
        part(
            "daemon-config.json",
            "the daemon's configuration; values of keys that it does not know are left out",
            shown,
        ),
        part("doctor.json", "findings of `cnidaria doctor`", doctor),
        part(
            "files.txt",
            "names of the confs, policies and plugins, without their content",
            names(wanted, config.as_ref()),
        ),
        part(
            "policies.json",
            "the policies, as `cnidaria policy list`",
            from_daemon(endpoint::POLICIES),
        ),
        part(
            "traces.json",
            "the last requests, as `cnidaria trace`",
            from_daemon(endpoint::TRACES),
        ),
        part(
            "attachments.json",
            "pods and their networks, as `cnidaria attachments`",
            from_daemon(endpoint::ATTACHMENTS),
        ),
        part(
            "metrics.txt",
            "the metrics, as Prometheus gets them",
            scrubber.text(&metrics),
        ),
    ])
}

fn chain(error: &(dyn Error + 'static)) -> String {
    cni_types::error::chain(error) + "\n"
}

fn versions(wanted: &BundleArgs) -> Value {
    let system = rustix::system::uname();
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    json!({
        "cnidaria": env!("CARGO_PKG_VERSION"),
        "node": system.nodename().to_string_lossy(),
        "kernel": system.release().to_string_lossy(),
        "machine": system.machine().to_string_lossy(),
        "system": pretty.map(|name| name.trim_matches('"')),
        "made": rfc3339(now()),
        "config": wanted.config.display().to_string(),
    })
}

/// What is in the directories that matter.
fn names(wanted: &BundleArgs, config: Option<&DaemonConfig>) -> String {
    let mut text = String::new();
    let target = config.and_then(|config| config.conf_file.target());
    let confs = target.and_then(|path| Some(path.parent()?.to_owned()));
    let confs = confs.unwrap_or_else(|| PathBuf::from(CONF_DIR));
    list(&mut text, &confs);
    // Where the primary network's conf is, as the daemon's container sees it.
    if let Some(ConfFile::Generated(generated)) = config.map(|config| &config.conf_file)
        && generated.primary_dir != confs
    {
        list(&mut text, &generated.primary_dir);
    }
    list(&mut text, &wanted.bin_dir);
    let policies = config.and_then(|config| config.own.policies.as_ref());
    if let Some(policies) = policies {
        list(&mut text, &policies.modules);
        policies.configs.iter().for_each(|dir| list(&mut text, dir));
    }
    text
}

fn list(text: &mut String, dir: &Path) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}:", dir.display());
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            let _ = writeln!(text, "  {error}\n");
            return;
        }
    };
    let mut lines: Vec<String> = entries
        .flatten()
        .take(MAX_NAMES)
        .map(|entry| {
            let metadata = entry.metadata().ok();
            let bytes = metadata.as_ref().map_or(0, std::fs::Metadata::len);
            let written = metadata.and_then(|metadata| metadata.modified().ok());
            let written = written.map_or_else(String::new, |time| rfc3339(seconds(time)));
            let name = crate::output::plain(&entry.file_name().to_string_lossy());
            format!("  {name} {bytes} {written}\n")
        })
        .collect();
    lines.sort();
    text.extend(lines);
    text.push('\n');
}

/// The time, in seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "when a bundle was made")]
pub(super) fn now() -> u64 {
    seconds(SystemTime::now())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
