//! A checksum inside the text it covers: every byte after it. It detects torn writes and
//! modification; what the text is, and what to do about a mismatch, is up to the caller.

use sha2::{Digest as _, Sha256};

/// Length of a checksum in characters: hexadecimal SHA-256.
pub const DIGITS: usize = 64;

/// The integrity of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// All bytes after the checksum match it.
    Whole,
    /// The bytes do not match the checksum.
    Broken,
    /// The text does not start like a sealed one.
    Missing,
}

/// Placeholder for the checksum until [`close`] fills it in.
pub fn placeholder() -> String {
    "0".repeat(DIGITS)
}

/// Writes the checksum into a text that starts with `head`, directly followed by [`placeholder`].
pub fn close(text: &mut [u8], head: &[u8]) {
    let Some(rest) = text.get(head.len() + DIGITS..) else {
        return;
    };
    let digits = digits(rest);
    if let Some(place) = text.get_mut(head.len()..head.len() + DIGITS) {
        place.copy_from_slice(&digits);
    }
}

/// Verifies a text that was sealed with `head`.
pub fn verify(text: &[u8], head: &[u8]) -> Seal {
    let Some(sealed) = text.strip_prefix(head) else {
        return Seal::Missing;
    };
    match sealed.split_at_checked(DIGITS) {
        Some((found, rest)) if found == digits(rest) => Seal::Whole,
        _ => Seal::Broken,
    }
}

fn digits(bytes: &[u8]) -> [u8; DIGITS] {
    const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; DIGITS];
    for (place, byte) in digits.chunks_exact_mut(2).zip(Sha256::digest(bytes)) {
        for (digit, half) in place.iter_mut().zip([byte >> 4, byte & 0xf]) {
            *digit = HEXADECIMAL.get(usize::from(half)).copied().unwrap_or(b'0');
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = br#"{"seal":""#;

    fn sealed() -> Vec<u8> {
        let mut text = format!(r#"{{"seal":"{}","name":"blue"}}"#, placeholder()).into_bytes();
        close(&mut text, HEAD);
        text
    }

    #[test]
    fn what_was_sealed_is_whole() {
        assert_eq!(verify(&sealed(), HEAD), Seal::Whole);
    }

    #[test]
    fn no_bit_behind_the_head_can_change_unnoticed() {
        let text = sealed();
        for position in HEAD.len()..text.len() {
            for bit in 0..8 {
                let mut changed = text.clone();
                changed[position] ^= 1 << bit;
                assert_eq!(
                    verify(&changed, HEAD),
                    Seal::Broken,
                    "bit {bit} of {position}"
                );
            }
        }
    }

    #[test]
    fn no_end_can_be_missing_unnoticed() {
        let text = sealed();
        for length in HEAD.len()..text.len() {
            assert_eq!(
                verify(&text[..length], HEAD),
                Seal::Broken,
                "{length} bytes"
            );
        }
    }

    #[test]
    fn files_of_other_writers_are_not_sealed() {
        assert_eq!(verify(br#"{"name":"blue"}"#, HEAD), Seal::Missing);
        assert_eq!(verify(b"", HEAD), Seal::Missing);
    }
}
