//! Records a DEL that finds no daemon for the next one, so that a node can remove pods while its
//! daemon is down.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;

use cni_types::args::Parameters;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use shim_api::Request;
use shim_api::deferred::{
    DIR, MAX_BYTES, MAX_RECORDS, Record, UNFINISHED, file_name, is_deferrable, result_is_deferrable,
};

use crate::conf::Conf;
use crate::netns;

/// Enough of a ledger file to read the daemon's flags.
const HEAD_BYTES: u64 = 256;
/// The results of attachments, in the ledger's directory.
const RESULTS: &str = "results";
/// The largest result of a container without a plan that is read; larger ones allow nothing.
const RESULT_BYTES: u64 = 4 << 20;

/// Why a DEL cannot be deferred.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no daemon asks for it here")]
    NotAsked,
    #[error("the directory is not the daemon's alone")]
    NotSafe,
    #[error("its networks have to be undone before its namespace goes")]
    NeedsNetns,
    #[error("it is too large")]
    TooLarge,
    #[error("too many wait already")]
    TooMany,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Records a DEL durably. A daemon may have started and read the records meanwhile: the caller must
/// try it once more.
pub(crate) fn record(request: &Request, parameters: &Parameters, conf: &Conf) -> Result<(), Error> {
    let (Some(id), Some(if_name)) = (&parameters.container_id, &parameters.if_name) else {
        return Err(Error::NotAsked);
    };
    let name = file_name(id.as_str(), if_name.as_str());
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let not_asked = |errno| match errno {
        Errno::NOENT => Error::NotAsked,
        errno => errno.into(),
    };
    let ledger = rustix::fs::open(&conf.cni_dir, directory, Mode::empty()).map_err(not_asked)?;
    let records = rustix::fs::openat(&ledger, DIR, directory | OFlags::NOFOLLOW, Mode::empty())
        .map_err(not_asked)?;
    let metadata = rustix::fs::fstat(&records)?;
    let others_write = Mode::WGRP | Mode::WOTH;
    if metadata.st_uid != rustix::process::geteuid().as_raw()
        || Mode::from_raw_mode(metadata.st_mode).intersects(others_write)
    {
        return Err(Error::NotSafe);
    }
    let needs_netns = match plan_is_deferrable(&ledger, id.as_str())? {
        Some(is_deferrable) => !is_deferrable,
        None => match results_are_deferrable(&ledger, id.as_str())? {
            Some(are_deferrable) => !are_deferrable,
            // Nothing is recorded. Usually nothing was attached, or the DEL is a repeated one, and a
            // refusal would hold up the pod for nothing. But if the interface is there, either the
            // records are lost or another daemon attached the pod: which networks these are is
            // unknown, so the namespace stays until a daemon can look.
            None => netns::has_interface(parameters),
        },
    };
    if needs_netns {
        return Err(Error::NeedsNetns);
    }
    let text = Record::of(request.clone()).to_json();
    if text.len() > MAX_BYTES {
        return Err(Error::TooLarge);
    }
    // Plus the entries `.` and `..`.
    if Dir::read_from(&records)?.count() >= MAX_RECORDS + 2 {
        return Err(Error::TooMany);
    }
    let unfinished = format!(".{}{UNFINISHED}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let write = || -> io::Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::openat(&records, &unfinished, flags, mode)?);
        file.write_all(&text)?;
        file.sync_all()?;
        rustix::fs::renameat(&records, &unfinished, &records, &name)?;
        Ok(rustix::fs::fsync(&records)?)
    };
    write().map_err(|error| {
        let _ = rustix::fs::unlinkat(&records, &unfinished, AtFlags::empty());
        error.into()
    })
}

/// Whether the daemon has marked a container's plan as deferrable; `None` without a plan.
fn plan_is_deferrable(ledger: impl AsFd, id: &str) -> Result<Option<bool>, Error> {
    match head_of(ledger, id, HEAD_BYTES) {
        Ok(head) => Ok(Some(is_deferrable(&head))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the daemon has marked all of a container's results as deferrable; `None` if there are
/// none. A result that cannot be read is not marked.
fn results_are_deferrable(ledger: impl AsFd, id: &str) -> Result<Option<bool>, Error> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let results = match rustix::fs::openat(ledger, RESULTS, directory, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened?,
    };
    let part = format!("-{id}-");
    let mut all = None;
    for file in Dir::read_from(&results)? {
        let file = file?;
        let Some(name) = file
            .file_name()
            .to_str()
            .ok()
            .filter(|it| it.contains(&part))
        else {
            continue;
        };
        let text = head_of(&results, name, RESULT_BYTES).unwrap_or_default();
        if let Some(is_deferrable) = result_is_deferrable(&text, id) {
            all = Some(all.unwrap_or(true) && is_deferrable);
        }
    }
    Ok(all)
}

/// The beginning of a regular file.
fn head_of(dir: impl AsFd, name: &str, bytes: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let mut head = Vec::new();
    // A FIFO or a device says nothing, and may have no end.
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::RegularFile {
        File::from(file).take(bytes).read_to_end(&mut head)?;
    }
    Ok(head)
}
