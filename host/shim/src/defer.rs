//! Records a DEL that finds no daemon for the next one, so that a node can remove pods while its
//! daemon is down.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use cni_types::args::Parameters;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use shim_api::Request;
use shim_api::deferred::{
    DIR, MAX_BYTES, MAX_RECORDS, Record, UNFINISHED, file_name, is_deferrable,
};

use crate::conf::Conf;

/// Enough of a ledger file to read the daemon's flags.
const HEAD_BYTES: u64 = 256;

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
    if needs_netns(&ledger, id.as_str().as_ref())? {
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

/// Whether a container has networks that the daemon has not marked as deferrable.
fn needs_netns(ledger: impl rustix::fd::AsFd, id: &Path) -> Result<bool, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(ledger, id, flags, Mode::empty()) {
        // Not attached.
        Err(Errno::NOENT) => return Ok(false),
        opened => File::from(opened?),
    };
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(!is_deferrable(&head))
}
