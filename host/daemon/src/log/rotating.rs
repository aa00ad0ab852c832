//! A log file that is rotated when full. Old files are named after the time, as Multus' are:
//! `multus-2006-01-02T15-04-05.000.log`, plus `.gz` once compressed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::OFlags;

use cnidaria_core::conf::logging::Rotation;

const COMPRESSED: &str = ".gz";

/// The current log file.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotation: Rotation,
}

impl RotatingFile {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = append(path)?;
        Ok(Self {
            bytes: file.metadata()?.len(),
            path: path.to_owned(),
            file,
            rotation,
        })
    }

    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.rotation.max_bytes {
            self.put_aside()?;
        }
        self.file.write_all(line)?;
        self.bytes += length;
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "names of old log files")]
    fn put_aside(&mut self) -> io::Result<()> {
        let names = Names::of(&self.path);
        fs::rename(&self.path, names.at(Timestamp::now()))?;
        self.file = append(&self.path)?;
        self.bytes = 0;
        let rotation = self.rotation.clone();
        // Compress on another thread, so that logging does not wait.
        std::thread::Builder::new()
            .name("log-rotation".to_owned())
            .spawn(move || {
                if let Err(error) = tidy(&names, &rotation, Timestamp::now()) {
                    let _ = writeln!(io::stderr(), "cannot tidy up old log files: {error}");
                }
            })?;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    // Opening a pipe would wait for its reader.
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let kind = file.metadata()?.file_type();
    match kind.is_fifo() || kind.is_socket() {
        true => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a pipe, not a file",
        )),
        false => Ok(file),
    }
}

/// The names of a log file's old versions.
#[derive(Debug, Clone)]
struct Names {
    dir: PathBuf,
    prefix: String,
    suffix: String,
}

impl Names {
    fn of(path: &Path) -> Self {
        let text = |part: Option<&std::ffi::OsStr>| {
            part.unwrap_or_default().to_string_lossy().into_owned()
        };
        let suffix = path.extension().map(|e| format!(".{}", text(Some(e))));
        Self {
            dir: path.parent().unwrap_or(Path::new("")).to_owned(),
            prefix: format!("{}-", text(path.file_stem())),
            suffix: suffix.unwrap_or_default(),
        }
    }

    fn at(&self, time: Timestamp) -> PathBuf {
        self.dir
            .join(format!("{}{}{}", self.prefix, stamp(time), self.suffix))
    }

    /// Old files, newest first, with the time in their names.
    fn old(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let dir = match self.dir.as_os_str().is_empty() {
            true => Path::new("."),
            false => &self.dir,
        };
        let mut old = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let time = name
                .strip_suffix(COMPRESSED)
                .unwrap_or(&name)
                .strip_prefix(&self.prefix)
                .and_then(|rest| rest.strip_suffix(&self.suffix))
                .filter(|time| time.len() == stamp(Timestamp::UNIX_EPOCH).len());
            if let Some(time) = time {
                old.push((time.to_owned(), self.dir.join(&name)));
            }
        }
        old.sort_unstable_by(|a, b| b.cmp(a));
        Ok(old)
    }
}

/// Sorts chronologically.
fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string()
}

/// Removes old files that are too old or too many, and compresses the rest.
fn tidy(names: &Names, rotation: &Rotation, now: Timestamp) -> io::Result<()> {
    let age = SignedDuration::from_hours(24 * i64::from(rotation.max_age_days));
    let oldest = match rotation.max_age_days {
        0 => None,
        _ => now.checked_sub(age).ok().map(stamp),
    };
    for (position, (time, path)) in names.old()?.into_iter().enumerate() {
        let too_many = rotation.max_backups > 0 && position >= rotation.max_backups;
        let too_old = oldest.as_ref().is_some_and(|oldest| time < *oldest);
        if too_many || too_old {
            fs::remove_file(path)?;
        } else if rotation.compress && path.extension().is_none_or(|e| e != "gz") {
            compress(&path)?;
        }
    }
    Ok(())
}

fn compress(path: &Path) -> io::Result<()> {
    let mut name = OsString::from(path);
    name.push(COMPRESSED);
    // Others who may write to the log directory could have put links there.
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    let to = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(no_link)
        .open(&name)?;
    let mut from = OpenOptions::new()
        .read(true)
        .custom_flags(no_link | OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const ROTATION: Rotation = Rotation {
        max_bytes: 10,
        max_age_days: 2,
        max_backups: 2,
        compress: false,
    };

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_put_aside_and_lines_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/multus.log");
        let mut file = RotatingFile::open(&path, ROTATION).unwrap();
        file.write(b"first\n").unwrap();
        file.write(b"second\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");
        let logs = names(path.parent().unwrap());
        assert_eq!(logs.len(), 2, "{logs:?}");
        assert!(
            logs[0].starts_with("multus-2") && logs[0].ends_with(".log"),
            "{logs:?}"
        );
    }

    #[test]
    fn a_file_that_is_there_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "old\n").unwrap();
        let mut file = RotatingFile::open(&path, ROTATION).unwrap();
        file.write(b"new\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nnew\n");
        file.write(b"more\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "more\n");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "names of old log files")]
    fn only_excess_and_expired_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let all = Names::of(&dir.path().join("a.log"));
        let now = Timestamp::now();
        let hours_ago = |hours| now - SignedDuration::from_hours(hours);
        for hours in [1, 2, 3] {
            fs::write(all.at(hours_ago(hours)), "x").unwrap();
        }
        for other in ["a.log", "a-notes.log", "b-2026-01-01T00-00-00.000.log"] {
            fs::write(dir.path().join(other), "x").unwrap();
        }
        tidy(&all, &ROTATION, now).unwrap();
        assert_eq!(names(dir.path()).len(), 5);
        assert!(!all.at(hours_ago(3)).exists());
        tidy(&all, &ROTATION, now + SignedDuration::from_hours(47)).unwrap();
        assert!(all.at(hours_ago(1)).exists() && !all.at(hours_ago(2)).exists());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "names of old log files")]
    fn old_files_are_compressed_once() {
        let dir = tempfile::tempdir().unwrap();
        let all = Names::of(&dir.path().join("a.log"));
        let now = Timestamp::now();
        fs::write(all.at(now), "text").unwrap();
        let rotation = Rotation {
            compress: true,
            ..ROTATION
        };
        for _ in 0..2 {
            tidy(&all, &rotation, now).unwrap();
        }
        let [only] = names(dir.path()).try_into().unwrap();
        let mut text = String::new();
        let file = File::open(dir.path().join(only)).unwrap();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "text");
    }

    #[test]
    fn a_pipe_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(RotatingFile::open(&path, ROTATION).is_err());
        let _reader = File::options().read(true).write(true).open(&path).unwrap();
        assert!(RotatingFile::open(&path, ROTATION).is_err());
    }

    #[test]
    fn compression_does_not_follow_symlinks() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        let old = dir.path().join("old.log");
        std::fs::write(&old, "line").unwrap();
        std::os::unix::fs::symlink(&precious, dir.path().join("old.log.gz")).unwrap();
        assert!(compress(&old).is_err());
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
        std::fs::remove_file(dir.path().join("old.log.gz")).unwrap();
        std::fs::remove_file(&old).unwrap();
        std::os::unix::fs::symlink(&precious, &old).unwrap();
        assert!(compress(&old).is_err());
    }
}
