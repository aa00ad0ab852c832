//! Which users are trusted at the other end of the socket; both ends use the same rule.

/// The uid that the kernel reports for users not mapped in this user namespace.
pub const OVERFLOW_UID: u32 = 65534;

/// Whether a peer with `uid`, from `SO_PEERCRED`, is trusted by a process with effective uid `own`:
/// root and the same user are. [`OVERFLOW_UID`] never is, since it stands for many users.
#[must_use]
pub fn is_trusted(uid: u32, own: u32) -> bool {
    uid == 0 || (uid == own && own != OVERFLOW_UID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_own_user_are_trusted() {
        for (uid, own, trusted) in [
            (0, 0, true),
            (0, 1000, true),
            (1000, 1000, true),
            (1000, 0, false),
            (1001, 1000, false),
            (u32::MAX, 0, false),
            (OVERFLOW_UID, 0, false),
            (OVERFLOW_UID, OVERFLOW_UID, false),
        ] {
            assert_eq!(is_trusted(uid, own), trusted, "{uid} by {own}");
        }
    }
}
