//! The files of a recording: segments of bounded size, of which the oldest is removed for a new one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::frame::{self, Head};

/// Number of segments that a recording consists of: removing one loses this share.
const SEGMENTS: u64 = 8;
/// Segments are not smaller than this.
const MIN_SEGMENT: u64 = 64 << 10;
/// Extension of segments.
const EXTENSION: &str = "rec";

/// The files of a recording.
#[derive(Debug)]
pub(super) struct Ring {
    dir: PathBuf,
    max_bytes: u64,
    /// The segment that is written to, and its size.
    current: Option<(File, u64)>,
}

impl Ring {
    /// Opens the directory, making it with mode 0700.
    ///
    /// # Errors
    /// If another user could write to it; those of the system.
    pub(super) fn open(dir: &Path, max_bytes: u64) -> io::Result<Self> {
        files::make_private_dir(dir)?;
        files::require_private(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            max_bytes,
            current: None,
        })
    }

    /// Appends records, and has them on disk.
    ///
    /// # Errors
    /// Those of the system. The next records go to a new segment.
    pub(super) fn append(&mut self, records: &[Vec<u8>], head: &Head) -> io::Result<u64> {
        let appended = self.append_all(records, head);
        if appended.is_err() {
            self.current = None;
        }
        appended
    }

    fn append_all(&mut self, records: &[Vec<u8>], head: &Head) -> io::Result<u64> {
        let limit = (self.max_bytes / SEGMENTS).max(MIN_SEGMENT);
        let mut lost = 0;
        let mut buffer = Vec::new();
        for record in records {
            let size = frame::size(record) as u64;
            let used = self.current.as_ref().map(|(_, used)| *used);
            let fits = used.is_some_and(|used| used + buffer.len() as u64 + size <= limit);
            if !fits {
                self.write(&mut buffer)?;
                self.next(limit)?;
                buffer = frame::begin(head);
            }
            if !frame::push(&mut buffer, record) {
                lost += 1;
            }
        }
        self.write(&mut buffer)?;
        if let Some((file, _)) = &self.current {
            file.sync_data()?;
        }
        Ok(lost)
    }

    fn write(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        if let Some((file, used)) = &mut self.current
            && !buffer.is_empty()
        {
            file.write_all(buffer)?;
            *used += buffer.len() as u64;
            buffer.clear();
        }
        Ok(())
    }

    /// Begins a segment, and removes the oldest ones beyond the limit.
    fn next(&mut self, limit: u64) -> io::Result<()> {
        if let Some((file, _)) = self.current.take() {
            file.sync_data()?;
        }
        let segments = segments(&self.dir)?;
        let mut room = self.max_bytes.saturating_sub(limit);
        for segment in segments.iter().rev() {
            match room.checked_sub(segment.bytes) {
                Some(left) => room = left,
                None => {
                    room = 0;
                    std::fs::remove_file(&segment.path)?;
                }
            }
        }
        let number = segments.last().map_or(0, |last| last.number) + 1;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.dir.join(format!("{number:010}.{EXTENSION}")))?;
        self.current = Some((file, 0));
        Ok(())
    }
}

/// A file of a recording.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    number: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// The files of a recording, the oldest first.
pub(super) fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let is_segment = path
            .extension()
            .is_some_and(|extension| extension == EXTENSION);
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|_| is_segment) {
            segments.push(Segment {
                number,
                path,
                bytes: entry.metadata()?.len(),
            });
        }
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Frames;
    use std::os::unix::fs::PermissionsExt;

    fn read(dir: &Path) -> Vec<Vec<u8>> {
        let segments = segments(dir).unwrap();
        let bytes: Vec<Vec<u8>> = segments
            .iter()
            .map(|segment| std::fs::read(&segment.path).unwrap())
            .collect();
        let bytes = bytes.concat();
        Frames::new(&bytes).unwrap().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn the_oldest_records_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/recording");
        let max = 8 * MIN_SEGMENT;
        for begin in [0, 100] {
            // A daemon that starts again continues the ring.
            let mut ring = Ring::open(&path, max).unwrap();
            for number in begin..begin + 100_u8 {
                let record = vec![number; 10 << 10];
                ring.append(&[record], &Head::default()).unwrap();
                let sum: u64 = segments(&path).unwrap().iter().map(|one| one.bytes).sum();
                assert!(sum <= max, "{sum}");
            }
        }
        let records = read(&path);
        let first: Vec<u8> = records.iter().map(|record| record[0]).collect();
        let last: Vec<u8> = (200 - first.len()..200)
            .map(|number| u8::try_from(number).unwrap())
            .collect();
        assert_eq!(first, last);
        assert!(first.len() > 35, "{first:?}");
    }

    #[test]
    fn only_this_user_may_read_a_recording() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        let mut ring = Ring::open(&path, 1 << 20).unwrap();
        ring.append(&[b"{}".to_vec()], &Head::default()).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&segments(&path).unwrap()[0].path), 0o600);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Ring::open(&path, 1 << 20).is_err());
    }
}
