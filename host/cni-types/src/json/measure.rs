//! Measures JSON text before it is parsed.

/// The size of a JSON text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Length of the text.
    pub bytes: usize,
    /// Nesting levels of objects and arrays; a bare scalar has 0.
    pub depth: usize,
    /// Members of all objects plus elements of all arrays, duplicates included. An empty object or
    /// array counts as one.
    pub members: usize,
}

/// Measures `text` in one pass, without recursion or allocation. Does not validate: text that is
/// not JSON gets a size too.
pub fn measure(text: impl AsRef<[u8]>) -> Size {
    let text = text.as_ref();
    let mut size = Size {
        bytes: text.len(),
        ..Size::default()
    };
    let mut level: usize = 0;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'{' | b'[' => {
                level += 1;
                size.depth = size.depth.max(level);
                size.members += 1;
            }
            b'}' | b']' => level = level.saturating_sub(1),
            b',' => size.members += 1,
            _ => {}
        }
    }
    size
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_depth_and_members_are_counted() {
        for (text, depth, members) in [
            ("7", 0, 0),
            (r#""[{,""#, 0, 0),
            ("{}", 1, 1),
            (r#"{"a":1,"b":[1,2,{"c":null}]}"#, 3, 6),
            (r#"{"a":1,"a":2,"a":3}"#, 1, 3),
            (r#"{"a\"[[[,\\":"\\","b":"]]]"}"#, 1, 2),
            ("]]][", 1, 1),
            (r#"{"a"#, 1, 1),
            (r#"{"a\"#, 1, 1),
        ] {
            let expected = Size {
                bytes: text.len(),
                depth,
                members,
            };
            assert_eq!(measure(text), expected, "{text}");
        }
    }
}
