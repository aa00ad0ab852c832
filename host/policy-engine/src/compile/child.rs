//! The daemon's compiler process: reads a module from standard input, writes the artefact to
//! standard output, and drops all other privileges before it starts. Or it makes a first instance
//! of an artefact.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::process::{self, Gid, Resource, Rlimit, Signal, Uid, getrlimit, setrlimit};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use super::Error;
use super::dry_run::dry_run;
use crate::load::confinement::{Confinement, NOTE};
use crate::load::digest::MAX_MODULE;

/// The user and group ids that own nothing.
const NOBODY: u32 = 65534;
/// Niceness increment, so that requests take precedence.
const NICE: i32 = 10;
/// Address space beyond the memory limit, for mappings that are never written.
const UNWRITTEN: u64 = 1 << 30;
/// Address space of one linear memory, with what surrounds it.
const MEMORY_SPACE: u64 = 5 << 30;
/// Maximum bytes of an artefact.
const MAX_ARTEFACT: u64 = 512 << 20;
/// Seconds of processor time between SIGXCPU and SIGKILL.
const LAST_SECONDS: u64 = 5;

/// Compiles the module on standard input, or runs one that is compiled, confined as the daemon's
/// `--child` argument asks.
///
/// Call it first, while the process is single-threaded.
///
/// # Errors
/// [`Error`] if the file is not a component, the compiler rejects it, or confinement fails.
pub fn child(confinement: &str) -> Result<(), Error> {
    let confinement: Confinement = serde_json::from_str(confinement)
        .map_err(|error| Error::Io(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    // Only the daemon can open it.
    let artefact = match &confinement.dry_run {
        Some(dry_run) => fs::read(&dry_run.artefact).map_err(Error::Io)?,
        None => Vec::new(),
    };
    for note in confine(&confinement)? {
        eprintln!("{NOTE}{note}");
    }
    if let Some(asked) = &confinement.dry_run {
        let settings = io::read_to_string(io::stdin().lock()).map_err(Error::Io)?;
        return dry_run(asked, &artefact, &settings).map_err(Error::Io);
    }
    let mut module = Vec::new();
    let input = io::stdin().lock();
    input
        .take(MAX_MODULE + 1)
        .read_to_end(&mut module)
        .map_err(Error::Io)?;
    let artefact = super::compile(&module)?;
    let mut output = io::stdout().lock();
    output
        .write_all(&artefact)
        .and_then(|()| output.flush())
        .map_err(Error::Io)
}

/// Drops privileges, and returns notes on those that could not be dropped.
fn confine(confinement: &Confinement) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    let mut note = |what: &str, done: io::Result<()>| {
        if let Err(error) = done {
            notes.push(format!("{what}: {error}"));
        }
    };
    end_with(confinement.parent)?;
    if let Some(dir) = &confinement.cgroup {
        note("cannot leave the daemon's control group", join(dir));
    }
    // Makes the OOM killer choose this process first.
    let first = fs::write("/proc/self/oom_score_adj", "1000");
    note("cannot be the first to be killed", first);
    let nice = process::nice(NICE).map(drop).map_err(io::Error::from);
    note("cannot be nice", nice);
    limit(confinement)?;
    note("cannot give up root", give_up_root());
    let bounded = thread::set_no_new_privs(true).map_err(io::Error::from);
    note("can gain privileges", bounded);
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    let emptied = thread::set_capabilities(None, none).map_err(io::Error::from);
    note("keeps capabilities", emptied);
    // Last, because the kernel resets it when the user changes.
    end_with(confinement.parent)?;
    Ok(notes)
}

/// Makes the kernel kill this process when its parent exits, even if it already has.
fn end_with(parent: u32) -> Result<(), Error> {
    process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Error::Confine)?;
    let found = process::getppid().map(process::Pid::as_raw_nonzero);
    let found = found.and_then(|pid| u32::try_from(pid.get()).ok());
    if found != Some(parent) {
        return Err(Error::Orphan);
    }
    Ok(())
}

fn join(dir: &Path) -> io::Result<()> {
    fs::write(dir.join("cgroup.procs"), "0")
}

fn limit(confinement: &Confinement) -> Result<(), Error> {
    let (memory, seconds) = (confinement.memory_bytes, confinement.seconds);
    let guests = confinement.dry_run.as_ref().map_or(0, |dry_run| {
        let memories = dry_run.limits.memories.saturating_add(1);
        memories.saturating_mul(MEMORY_SPACE)
    });
    let space = memory.saturating_add(UNWRITTEN).saturating_add(guests);
    for (resource, limit, most) in [
        (Resource::Cpu, seconds, seconds.saturating_add(LAST_SECONDS)),
        (Resource::Data, memory, memory),
        (Resource::As, space, space),
        (Resource::Fsize, MAX_ARTEFACT, MAX_ARTEFACT),
        (Resource::Nofile, 64, 64),
        (Resource::Core, 0, 0),
    ] {
        // The inherited limit may be stricter.
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit {
            current: Some(limit.min(allowed)),
            maximum: Some(most.min(allowed)),
        };
        setrlimit(resource, limit).map_err(Error::Confine)?;
    }
    Ok(())
}

/// If root, switches to a user that owns nothing. Other processes of that user cannot trace this
/// one: the kernel marks it as not dumpable.
fn give_up_root() -> io::Result<()> {
    if !process::geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    thread::set_thread_groups(&[])?;
    thread::set_thread_res_gid(group, group, group)?;
    thread::set_thread_res_uid(user, user, user)?;
    Ok(())
}
