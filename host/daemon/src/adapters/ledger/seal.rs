//! The checksum of a file of the ledger: a member of our own that stands first, so that it covers
//! every byte behind it, wherever a disk has torn the file or somebody has changed it.

use sha2::{Digest as _, Sha256};

/// How every sealed file begins: a list, its first delegate, our own object, the checksum.
const HEAD: &[u8] = shim_api::deferred::SEALED_HEAD;
/// SHA-256 in hexadecimal.
const DIGITS: usize = shim_api::deferred::SEAL_DIGITS;

/// A member that every sealed file has and no file of Multus.
const MARK: &[u8] = br#""capabilityArgs":"#;

/// What is said of a text's integrity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    /// Every byte is as it was written.
    Whole,
    /// Another one than what was written.
    Broken,
    /// Not sealed: Multus does not.
    None,
}

/// Stands in the text for the checksum until [`seal`] puts it in.
pub(super) fn placeholder() -> String {
    "0".repeat(DIGITS)
}

/// Puts the checksum into a text that was written with [`placeholder`] as its first member.
pub(super) fn seal(text: &mut [u8]) {
    let Some(rest) = text.get(HEAD.len() + DIGITS..) else {
        return;
    };
    let digits = digits(rest);
    if let Some(place) = text.get_mut(HEAD.len()..HEAD.len() + DIGITS) {
        place.copy_from_slice(digits.as_bytes());
    }
}

/// Whether a text is what was sealed.
pub(super) fn verify(text: &[u8]) -> Seal {
    let Some(sealed) = text.strip_prefix(HEAD) else {
        // With another beginning it is Multus' or damaged there.
        let ours = text.windows(MARK.len()).any(|window| window == MARK);
        return if ours { Seal::Broken } else { Seal::None };
    };
    match sealed.split_at_checked(DIGITS) {
        Some((found, rest)) if found == digits(rest).as_bytes() => Seal::Whole,
        _ => Seal::Broken,
    }
}

fn digits(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut digits = String::with_capacity(DIGITS);
    for byte in Sha256::digest(bytes) {
        write!(digits, "{byte:02x}").expect("writing to a string cannot fail");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Vec<u8> {
        let mut text = format!(
            r#"[{{"cnidaria":{{"checksum":"{}","ifName":"eth0"}},"Name":"blue"}}]"#,
            placeholder()
        )
        .into_bytes();
        seal(&mut text);
        text
    }

    #[test]
    fn what_was_sealed_is_whole() {
        assert_eq!(verify(&sealed()), Seal::Whole);
    }

    #[test]
    fn no_bit_behind_the_head_can_change_unnoticed() {
        let text = sealed();
        for position in HEAD.len()..text.len() {
            for bit in 0..8 {
                let mut changed = text.clone();
                changed[position] ^= 1 << bit;
                assert_eq!(verify(&changed), Seal::Broken, "bit {bit} of {position}");
            }
        }
    }

    #[test]
    fn no_end_can_be_missing_unnoticed() {
        let text = sealed();
        for length in HEAD.len()..text.len() {
            assert_eq!(verify(&text[..length]), Seal::Broken, "{length} bytes");
        }
    }

    #[test]
    fn what_multus_writes_is_not_sealed() {
        assert_eq!(verify(br#"[{"Conf":{},"Name":"x"}]"#), Seal::None);
        assert_eq!(verify(b""), Seal::None);
    }
}
