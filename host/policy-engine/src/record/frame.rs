//! The file format: segments of records, each with its length and checksum.
//!
//! A segment begins with [`MAGIC`] and a record with its [`Head`]. Segments may follow each other in
//! one file. What a crash left unfinished or a disk damaged is skipped up to the next segment.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::Redaction;

/// The beginning of a segment.
pub(super) const MAGIC: &[u8; 16] = b"\x89cnidaria-rec\r\n1";
/// Maximum bytes of one record.
pub(super) const MAX_RECORD: usize = 8 << 20;
/// Bytes of a record's length and checksum.
const HEAD: usize = size_of::<u32>() + CHECKSUM;
const CHECKSUM: usize = 8;

/// What all records of a segment have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Head {
    /// Version of the daemon that wrote them.
    pub daemon: String,
    /// What it left out.
    pub redaction: Redaction,
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::digest(bytes);
    let mut checksum = [0; CHECKSUM];
    for (to, from) in checksum.iter_mut().zip(digest) {
        *to = from;
    }
    checksum
}

/// Appends a record; not one that is too large, which is then lost.
pub(super) fn push(buffer: &mut Vec<u8>, record: &[u8]) -> bool {
    let length = u32::try_from(record.len()).ok();
    let Some(length) = length.filter(|_| record.len() <= MAX_RECORD) else {
        return false;
    };
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&checksum(record));
    buffer.extend_from_slice(record);
    true
}

/// The records of a file, in order.
#[derive(Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    head: Head,
    /// Bytes that are no whole record.
    skipped: usize,
}

impl<'a> Frames<'a> {
    /// The records of a file; `None` if it does not begin with a segment.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.starts_with(MAGIC).then(|| Self {
            rest: bytes,
            head: Head::default(),
            skipped: 0,
        })
    }

    /// What the records since the last segment have in common.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Bytes skipped so far because they are torn or damaged.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Takes one record off.
    fn record(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if length > MAX_RECORD {
            return None;
        }
        let (expected, rest) = rest.split_first_chunk::<CHECKSUM>()?;
        let record = rest.get(..length)?;
        if checksum(record) != *expected {
            return None;
        }
        self.rest = rest.get(length..).unwrap_or_default();
        Some(record)
    }

    /// Skips to the next segment.
    fn skip(&mut self) {
        let next = self
            .rest
            .windows(MAGIC.len())
            .position(|part| part == MAGIC);
        let next = next.unwrap_or(self.rest.len());
        self.skipped += next;
        self.rest = self.rest.get(next..).unwrap_or_default();
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            if let Some(rest) = self.rest.strip_prefix(MAGIC) {
                self.rest = rest;
                let head = self.record();
                match head.and_then(|head| serde_json::from_slice(head).ok()) {
                    Some(head) => self.head = head,
                    None => self.skip(),
                }
                continue;
            }
            match self.record() {
                Some(record) => return Some(record),
                None => self.skip(),
            }
        }
        None
    }
}

/// The bytes with which a segment begins.
pub(super) fn begin(head: &Head) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    push(&mut bytes, &serde_json::to_vec(head).unwrap_or_default());
    bytes
}

/// Bytes of a record in a file.
pub(super) fn size(record: &[u8]) -> usize {
    HEAD + record.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = begin(&Head::default());
        for record in records {
            assert!(push(&mut bytes, record));
        }
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<&[u8]>, usize) {
        let mut frames = Frames::new(bytes).unwrap();
        let records = frames.by_ref().collect();
        (records, frames.skipped())
    }

    #[test]
    fn segments_follow_each_other() {
        let bytes = [segment(&[b"a", b"b"]), segment(&[]), segment(&[b"c"])].concat();
        assert_eq!(read(&bytes), (vec![&b"a"[..], b"b", b"c"], 0));
        assert!(Frames::new(b"{}").is_none());
    }

    #[test]
    fn a_torn_or_damaged_record_is_skipped() {
        let whole = segment(&[b"first", b"second"]);
        let next = segment(&[b"next"]);
        let head = segment(&[]).len();
        for end in head..whole.len() {
            let torn = [whole.get(..end).unwrap(), &next].concat();
            let (records, skipped) = read(&torn);
            assert_eq!(records.last(), Some(&&b"next"[..]), "{end}");
            let first = head + size(b"first");
            assert_eq!(records.len() == 2, end >= first, "{end}");
            assert_eq!(skipped > 0, end != head && end != first, "{end}");
        }
        let mut damaged = whole.clone();
        if let Some(byte) = damaged.last_mut() {
            *byte ^= 1;
        }
        let (records, skipped) = read(&damaged);
        assert_eq!((records, skipped), (vec![&b"first"[..]], size(b"second")));
    }
}
