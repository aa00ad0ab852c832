//! Finds a module's description of itself: a custom section that its SDK writes, of the component or
//! of a module within it. The module is hostile: what is read of it is bounded.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use files::Links;

use crate::model::description::Description;

/// The section's name.
pub(crate) const SECTION: &str = "cnidaria:policy";
/// Maximum bytes of the section.
const MAX_BYTES: u64 = 64 << 10;
/// Maximum depth of modules within components.
const MAX_DEPTH: u8 = 4;
/// Maximum number of sections that are looked at.
const MAX_SECTIONS: u32 = 10_000;

/// The ids of sections that are read.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;

/// Why a module has no usable description.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The section is too large.
    #[error("the module's description of itself has {0} bytes, at most {MAX_BYTES} are read")]
    TooLarge(u64),
    /// The section is not what the SDK writes.
    #[error("the module's description of itself is malformed")]
    Malformed(#[source] serde_json::Error),
    /// The module cannot be read.
    #[error("cannot read the module's description of itself")]
    Io(#[source] io::Error),
}

/// The description in a module's file; `None` if it has none.
///
/// # Errors
/// [`Error`].
pub(crate) fn of_file(path: &Path) -> Result<Option<Description>, Error> {
    let file = files::open(path, Links::Follow).map_err(Error::Io)?;
    of(BufReader::<File>::new(file))
}

/// The description in a module; `None` if it has none.
///
/// # Errors
/// [`Error`].
#[cfg(any(test, feature = "compile"))]
pub(crate) fn of_bytes(module: &[u8]) -> Result<Option<Description>, Error> {
    of(io::Cursor::new(module))
}

fn of<R: Read + Seek>(module: R) -> Result<Option<Description>, Error> {
    let mut sections = Sections {
        module,
        at: 0,
        seen: 0,
    };
    let length = match sections.find(u64::MAX, 0) {
        Ok(Some(length)) => length,
        Ok(None) => return Ok(None),
        // Not WebAssembly, or cut off: the compiler says so.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(Error::Io(error)),
    };
    if length > MAX_BYTES {
        return Err(Error::TooLarge(length));
    }
    let mut text = Vec::new();
    let read = sections.module.take(length).read_to_end(&mut text);
    read.map_err(Error::Io)?;
    Description::parse(&text)
        .map(Some)
        .map_err(Error::Malformed)
}

/// Reads a module section by section.
struct Sections<R> {
    module: R,
    at: u64,
    seen: u32,
}

impl<R: Read + Seek> Sections<R> {
    /// Goes to the contents of the section and returns their length, if it is before `end`.
    fn find(&mut self, end: u64, depth: u8) -> io::Result<Option<u64>> {
        let mut preamble = [0; 8];
        self.read(&mut preamble)?;
        let is_component = preamble.get(6) == Some(&1);
        if !preamble.starts_with(b"\0asm") || depth > MAX_DEPTH {
            return Ok(None);
        }
        while self.at < end {
            let mut id = [0];
            match self.read(&mut id) {
                Err(error) if depth == 0 && error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(None);
                }
                read => read?,
            }
            let size = self.number()?;
            let section_end = self.at.saturating_add(size);
            self.seen += 1;
            if section_end > end || self.seen > MAX_SECTIONS {
                return Ok(None);
            }
            let found = match id {
                [CUSTOM] => self.custom(section_end)?,
                [CORE_MODULE | COMPONENT] if is_component => self.find(section_end, depth + 1)?,
                _ => None,
            };
            if found.is_some() {
                return Ok(found);
            }
            self.go_to(section_end)?;
        }
        Ok(None)
    }

    /// The length of a custom section's contents, if it is the one.
    fn custom(&mut self, end: u64) -> io::Result<Option<u64>> {
        if self.number()? != SECTION.len() as u64 {
            return Ok(None);
        }
        let mut name = [0; SECTION.len()];
        self.read(&mut name)?;
        Ok((name == SECTION.as_bytes())
            .then(|| end.checked_sub(self.at))
            .flatten())
    }

    /// An unsigned number in LEB128 of 32 bits.
    fn number(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for index in 0..5 {
            let mut byte = [0];
            self.read(&mut byte)?;
            let [byte] = byte;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.module.read_exact(into)?;
        self.at += into.len() as u64;
        Ok(())
    }

    fn go_to(&mut self, place: u64) -> io::Result<()> {
        // A section's name can be longer than the section.
        let Some(forward) = place.checked_sub(self.at) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let forward = i64::try_from(forward).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.module.seek_relative(forward)?;
        self.at = place;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(id: u8, contents: &[u8]) -> Vec<u8> {
        let mut bytes = vec![id];
        let mut size = contents.len();
        loop {
            let byte = u8::try_from(size & 0x7f).unwrap();
            size >>= 7;
            bytes.push(if size == 0 { byte } else { byte | 0x80 });
            if size == 0 {
                break;
            }
        }
        bytes.extend(contents);
        bytes
    }

    fn custom(name: &str, text: &str) -> Vec<u8> {
        let mut contents = vec![u8::try_from(name.len()).unwrap()];
        contents.extend(name.bytes().chain(text.bytes()));
        section(CUSTOM, &contents)
    }

    fn component(sections: &[Vec<u8>]) -> Vec<u8> {
        [b"\0asm\x0d\0\x01\0".to_vec(), sections.concat()].concat()
    }

    fn core(sections: &[Vec<u8>]) -> Vec<u8> {
        [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
    }

    #[test]
    fn a_description_is_found_in_a_nested_module() {
        let text = r#"{"name":"a","version":"1","grants":["clock"],"limits":{"timeoutMs":50}}"#;
        let inner = core(&[custom("name", "x"), custom("cnidaria:policy", text)]);
        let outer = component(&[custom("other", "{}"), section(CORE_MODULE, &inner)]);
        let found = of_bytes(&outer).unwrap().unwrap();
        assert_eq!(found.title(), "a 1");
        assert_eq!(found.grants, ["clock"]);
        assert_eq!(found.limits.get("timeoutMs"), Some(&50));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wasm");
        std::fs::write(&path, &outer).unwrap();
        assert_eq!(of_file(&path).unwrap(), Some(found));
        assert_eq!(of_bytes(&component(&[])).unwrap(), None);
        assert_eq!(of_bytes(b"text").unwrap(), None);
    }

    #[test]
    fn a_hostile_section_is_an_error_or_none() {
        let of = |text: &str| of_bytes(&component(&[custom("cnidaria:policy", text)]));
        assert!(matches!(of("{"), Err(Error::Malformed(_))));
        assert!(matches!(of(&"[".repeat(10_000)), Err(Error::Malformed(_))));
        let long = "x".repeat(1 << 16);
        assert!(matches!(of(&format!("{long}x")), Err(Error::TooLarge(_))));
        let wordy = format!(
            r#"{{"name":"\u001b{long}","grants":["x"]}}"#,
            long = "x".repeat(100)
        );
        let found = of(&wordy).unwrap().unwrap();
        assert!(found.name.len() < 100 && !found.name.contains('\u{1b}'));
        let mut nested = core(&[custom("cnidaria:policy", "{}")]);
        for _ in 0..=MAX_DEPTH {
            nested = component(&[section(COMPONENT, &nested)]);
        }
        assert_eq!(of_bytes(&nested).unwrap(), None);
        let whole = component(&[custom("a", ""), custom("cnidaria:policy", "{}")]);
        for end in 0..whole.len() {
            let _ = of_bytes(&whole[..end]);
        }
        let preamble = b"\0asm\x0d\0\x01\0".as_slice();
        for rest in [
            [0, 0xff, 0xff, 0xff, 0xff, 0x0f].as_slice(),
            &[0, 1, 0xff],
            &[0, 1, 15],
            &[0, 0, 0, 0],
            &[4, 3, 0, 0, 0],
        ] {
            assert_eq!(
                of_bytes(&[preamble, rest].concat()).unwrap(),
                None,
                "{rest:?}"
            );
        }
        let empty = vec![custom("", ""); MAX_SECTIONS as usize + 1];
        let many = component(&[empty, vec![custom("cnidaria:policy", "{}")]].concat());
        assert_eq!(of_bytes(&many).unwrap(), None);
    }
}
