//! Files of text, of bounded size.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Maximum size of a file of cases, a manifest or an answer in bytes.
pub(crate) const MAX_TEXT: u64 = 64 << 20;

/// Why a file has no text.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It cannot be read, or is too large.
    Io(io::Error),
    /// It is not UTF-8.
    Encoding(Encoding),
}

/// What is wrong with a file as text, such as a byte that is not UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// The line, from 1.
    pub(crate) line: usize,
    /// The column, from 1.
    pub(crate) column: usize,
    /// What was expected.
    pub(crate) reason: String,
}

/// Reads a file of at most [`MAX_TEXT`] bytes.
///
/// # Errors
/// [`Unreadable`].
pub(crate) fn read(path: &Path) -> Result<String, Unreadable> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Unreadable::Io)?;
    file.take(MAX_TEXT + 1)
        .read_to_end(&mut bytes)
        .map_err(Unreadable::Io)?;
    if bytes.len() as u64 > MAX_TEXT {
        let reason = format!("it has more than {MAX_TEXT} bytes");
        return Err(Unreadable::Io(io::Error::other(reason)));
    }
    decode(bytes).map_err(Unreadable::Encoding)
}

/// The text of a file's bytes.
///
/// # Errors
/// [`Encoding`], if they are not UTF-8.
pub(crate) fn decode(bytes: Vec<u8>) -> Result<String, Encoding> {
    String::from_utf8(bytes).map_err(|error| {
        let (before, after) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let before = String::from_utf8_lossy(before);
        let line = before.rsplit('\n').next().unwrap_or_default();
        let byte = after.first().copied().unwrap_or_default();
        Encoding {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            reason: format!("expected text in UTF-8, not the byte {byte:#04x}"),
        }
    })
}

/// Refuses what a JSON parser explains badly: an empty file, and the byte order mark of some editors.
///
/// # Errors
/// [`Encoding`] with the place of both.
pub(crate) fn json(text: String) -> Result<String, Encoding> {
    let reason = if text.starts_with('\u{feff}') {
        "JSON does not begin with a byte order mark; save the file without it"
    } else if text.trim().is_empty() {
        "expected a JSON object; the file is empty"
    } else {
        return Ok(text);
    };
    Err(Encoding {
        line: 1,
        column: 1,
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_and_a_mark_are_named() {
        let reason = |text: &str| json(text.to_owned()).map_err(|wrong| wrong.reason);
        let mark = "JSON does not begin with a byte order mark; save the file without it";
        assert_eq!(reason("\u{feff}{}"), Err(mark.to_owned()));
        let empty = "expected a JSON object; the file is empty";
        assert_eq!(reason(" \n"), Err(empty.to_owned()));
        assert_eq!(reason("{}"), Ok("{}".to_owned()));
    }

    #[test]
    fn a_byte_that_is_not_utf_8_has_its_place() {
        let latin = b"name: \xc3\xa9\nx: caf\xe9\n".to_vec();
        let expected = Encoding {
            line: 2,
            column: 7,
            reason: "expected text in UTF-8, not the byte 0xe9".to_owned(),
        };
        assert_eq!(decode(latin), Err(expected));
        assert_eq!(decode(b"caf\xc3\xa9".to_vec()), Ok("café".to_owned()));
    }

    #[test]
    fn an_endless_file_is_too_large() {
        let read = read(Path::new("/dev/zero"));
        let is_refused =
            matches!(&read, Err(Unreadable::Io(error)) if error.to_string().contains("more than"));
        assert!(is_refused, "{read:?}");
    }
}
