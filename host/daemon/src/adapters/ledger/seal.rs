//! The checksum of a ledger file: the daemon's own member, placed first so that it covers every
//! byte after it.

use libcni::seal;
pub(super) use libcni::seal::{Seal, placeholder};

/// How every sealed file begins: a list, its first delegate, our own object, the checksum.
const HEAD: &[u8] = shim_api::deferred::SEALED_HEAD;

/// A member that every sealed file has, and no file of Multus.
const MARK: &[u8] = br#""capabilityArgs":"#;

/// Fills the checksum into a text written with [`placeholder`] as its first member.
pub(super) fn seal(text: &mut [u8]) {
    seal::close(text, HEAD);
}

/// Verifies a file's checksum; Multus' files have none.
pub(super) fn verify(text: &[u8]) -> Seal {
    match seal::verify(text, HEAD) {
        // Without the usual beginning it is Multus', or damaged there.
        Seal::Missing if text.windows(MARK.len()).any(|window| window == MARK) => Seal::Broken,
        seal => seal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_head_is_broken() {
        let mut text = format!(
            r#"[{{"cnidaria":{{"checksum":"{}","ifName":"eth0","capabilityArgs":{{}}}},"Name":"blue"}}]"#,
            placeholder()
        )
        .into_bytes();
        seal(&mut text);
        assert_eq!(verify(&text), Seal::Whole);
        for position in 0..HEAD.len() {
            let mut changed = text.clone();
            changed[position] ^= 1;
            assert_eq!(verify(&changed), Seal::Broken, "{position}");
        }
    }

    #[test]
    fn what_multus_writes_is_not_sealed() {
        assert_eq!(verify(br#"[{"Conf":{},"Name":"x"}]"#), Seal::Missing);
        assert_eq!(verify(b""), Seal::Missing);
    }
}
