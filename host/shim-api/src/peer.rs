//! Which users may be at the other end of the socket: both ends have the same rule.

/// The user as which the kernel shows one that is unknown in this user namespace.
pub const OVERFLOW_UID: u32 = 65534;

/// Whether a process of user `uid`, by `SO_PEERCRED`, is trusted by one whose effective user is
/// `own`: root is, and the same user. Never [`OVERFLOW_UID`], which stands for many users.
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
