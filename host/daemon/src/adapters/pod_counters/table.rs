//! The kernel's table of interfaces and their counters, `/proc/net/dev`: it is read without the lock
//! of link changes, which a driver may hold for seconds.

/// Traffic of an interface, as the kernel counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Towards the pod.
    pub received: Direction,
    /// From the pod.
    pub sent: Direction,
}

/// Traffic in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Direction {
    pub bytes: u64,
    pub packets: u64,
    /// Packets with errors.
    pub errors: u64,
    /// Packets dropped.
    pub dropped: u64,
}

/// The traffic of each interface in the table for which `is_wanted` holds. Lines that are cut or of
/// another form are left out.
pub(super) fn traffic<'a>(
    table: &'a str,
    is_wanted: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = (&'a str, Traffic)> {
    table.lines().filter_map(move |line| {
        let (name, counts) = line.split_once(':')?;
        let name = name.trim();
        if !is_wanted(name) {
            return None;
        }
        let mut counts = counts.split_ascii_whitespace().map(str::parse::<u64>);
        let received = direction(&mut counts)?;
        // FIFO, frame, compressed and multicast.
        let sent = direction(&mut counts.skip(4))?;
        Some((name, Traffic { received, sent }))
    })
}

fn direction<E>(counts: &mut impl Iterator<Item = Result<u64, E>>) -> Option<Direction> {
    let mut next = || counts.next()?.ok();
    Some(Direction {
        bytes: next()?,
        packets: next()?,
        errors: next()?,
        dropped: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0
  net1: 18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
  net2:12 13 14 15
";

    #[test]
    fn columns_are_those_of_the_kernel() {
        let found: Vec<_> = traffic(TABLE, |name| name != "lo").collect();
        let received = Direction {
            bytes: u64::MAX,
            packets: 2,
            errors: 3,
            dropped: 4,
        };
        let sent = Direction {
            bytes: 9,
            packets: 10,
            errors: 11,
            dropped: 12,
        };
        assert_eq!(found, [("net1", Traffic { received, sent })]);
    }

    #[test]
    fn this_kernel_has_the_same_columns() {
        let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        assert!(traffic(&table, |name| name == "lo").count() == 1, "{table}");
    }
}
