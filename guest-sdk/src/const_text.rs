//! JSON text that constant functions build, for a section of the component.

/// Maximum bytes of a description; the host reads no longer one.
pub(crate) const MAX: usize = 64 << 10;

/// Text that is made at compile time.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    bytes: [u8; MAX],
    length: usize,
}

impl Text {
    /// An empty text.
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; MAX],
            length: 0,
        }
    }

    /// The number of bytes.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// The first `N` bytes.
    pub const fn bytes<const N: usize>(&self) -> [u8; N] {
        match self.bytes.first_chunk() {
            Some(bytes) => *bytes,
            None => [0; N],
        }
    }

    pub(crate) const fn push(&mut self, text: &str) {
        let mut bytes = text.as_bytes();
        while let [byte, others @ ..] = bytes {
            self.push_byte(*byte);
            bytes = others;
        }
    }

    /// A JSON string.
    pub(crate) const fn push_string(&mut self, text: &str) {
        self.push("\"");
        let mut bytes = text.as_bytes();
        while let [byte, others @ ..] = bytes {
            match *byte {
                b'"' | b'\\' => {
                    self.push("\\");
                    self.push_byte(*byte);
                }
                // Control characters are not part of a name.
                0..0x20 => self.push(" "),
                byte => self.push_byte(byte),
            }
            bytes = others;
        }
        self.push("\"");
    }

    pub(crate) const fn push_strings(&mut self, texts: &[&str]) {
        self.push("[");
        let mut rest = texts;
        while let [text, others @ ..] = rest {
            self.push_string(text);
            if !others.is_empty() {
                self.push(",");
            }
            rest = others;
        }
        self.push("]");
    }

    pub(crate) const fn push_number(&mut self, number: i128) {
        if number < 0 {
            self.push("-");
        }
        let number = number.unsigned_abs();
        let mut power = 1;
        while number / power >= 10 {
            power *= 10;
        }
        while power > 0 {
            // A digit.
            self.push_byte(b'0' + (number / power % 10) as u8);
            power /= 10;
        }
    }

    const fn push_byte(&mut self, byte: u8) {
        let rest = self.bytes.split_at_mut_checked(self.length);
        assert!(
            matches!(rest, Some((_, [_, ..]))),
            "the description has more than 65536 bytes"
        );
        if let Some((_, [place, ..])) = rest {
            *place = byte;
        }
        self.length += 1;
    }
}
