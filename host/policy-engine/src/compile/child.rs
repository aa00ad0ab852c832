//! The daemon's compiler: reads the module from standard input, writes the artefact to standard output,
//! and gives up before everything that it does not need for that.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::process::{self, Gid, Resource, Rlimit, Signal, Uid, getrlimit, setrlimit};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use super::Error;
use crate::confinement::{Confinement, NOTE};
use crate::digest::MAX_MODULE;

/// The user and the group that own nothing.
const NOBODY: u32 = 65534;
/// Added to the niceness: requests go first.
const NICE: i32 = 10;
/// Address space beyond the memory: what is mapped and not written to.
const UNWRITTEN: u64 = 1 << 30;
/// Bytes of an artefact.
const MAX_ARTEFACT: u64 = 512 << 20;
/// Processor time after SIGXCPU until SIGKILL.
const LAST_SECONDS: u64 = 5;

/// Compiles what standard input has, confined as the daemon asks in `--child`.
///
/// Called first of all, while the process has one thread.
///
/// # Errors
/// [`Error`]: it is no component, the compiler refuses it, or the process cannot be confined.
pub fn child(confinement: &str) -> Result<(), Error> {
    let confinement: Confinement = serde_json::from_str(confinement)
        .map_err(|error| Error::Io(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    for note in confine(&confinement)? {
        eprintln!("{NOTE}{note}");
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

/// Gives up what can be given up; what cannot is in the answer.
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
    // What the kernel kills first where memory is short.
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
    // The kernel forgets it when the user changes.
    end_with(confinement.parent)?;
    Ok(notes)
}

/// Has the kernel end this process with its parent, also where that has ended already.
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
    for (resource, limit, most) in [
        (Resource::Cpu, seconds, seconds.saturating_add(LAST_SECONDS)),
        (Resource::Data, memory, memory),
        (
            Resource::As,
            memory.saturating_add(UNWRITTEN),
            memory.saturating_add(UNWRITTEN),
        ),
        (Resource::Fsize, MAX_ARTEFACT, MAX_ARTEFACT),
        (Resource::Nofile, 64, 64),
        (Resource::Core, 0, 0),
    ] {
        // It may be stricter already.
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit {
            current: Some(limit.min(allowed)),
            maximum: Some(most.min(allowed)),
        };
        setrlimit(resource, limit).map_err(Error::Confine)?;
    }
    Ok(())
}

/// Becomes a user that owns nothing, where this one is root. The new user cannot trace the process, since the
/// kernel marks it as not dumpable.
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
