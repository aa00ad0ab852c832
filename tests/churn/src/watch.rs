//! Checks continuously that the shim is installed: the runtime may execute it at any moment.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::pods::Progress;

/// Poll interval, short enough to catch a file that is removed and written again.
const PAUSE: Duration = Duration::from_micros(200);

/// Opens all paths until the run ends. Returns how many opens succeeded.
///
/// # Errors
/// [`Error::Wrong`] if one was missing or empty.
pub(crate) fn watch(shims: &[PathBuf], progress: &Progress) -> Result<u64, Error> {
    let mut looks = 0;
    while !progress.ended.load(Ordering::Relaxed) && !progress.failed.load(Ordering::Relaxed) {
        for shim in shims {
            let size = File::open(shim).and_then(|file| file.metadata());
            match size {
                Ok(metadata) if metadata.len() > 0 => looks += 1,
                Ok(_) => return Err(wrong(progress, format!("{} is empty", shim.display()))),
                Err(error) => {
                    return Err(wrong(progress, format!("{}: {error}", shim.display())));
                }
            }
        }
        thread::sleep(PAUSE);
    }
    Ok(looks)
}

fn wrong(progress: &Progress, what: String) -> Error {
    progress.failed.store(true, Ordering::Relaxed);
    let log = String::new();
    Error::Wrong { what, log }
}
