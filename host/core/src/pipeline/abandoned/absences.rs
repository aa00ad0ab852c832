//! What was absent in consecutive observations, and since when. One observation proves nothing: the
//! runtime lists a sandbox only once it is started, after its networks are attached.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Absent things, each with the first of the consecutive observations. The clock is monotonic: what
/// is absent for a while has existed for a while.
#[derive(Debug)]
pub(super) struct Absences<K>(BTreeMap<K, Instant>);

impl<K> Default for Absences<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Absences<K> {
    /// Notes everything that is absent in one observation, and forgets the rest. Returns what an
    /// earlier observation, at least `grace` ago, found absent as well.
    pub(super) fn note(
        &mut self,
        absent: impl IntoIterator<Item = K>,
        now: Instant,
        grace: Duration,
    ) -> Vec<K> {
        let mut earlier = std::mem::take(&mut self.0);
        let mut due = Vec::new();
        for one in absent {
            let since = match earlier.remove(&one) {
                Some(since) => {
                    if now.saturating_duration_since(since) >= grace {
                        due.push(one.clone());
                    }
                    since
                }
                None => now,
            };
            self.0.insert(one, since);
        }
        due
    }

    /// Begins anew: nothing was observed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    #[test]
    fn absence_takes_two_observations_and_time() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut absences = Absences::default();
        let mut note = |absent: &[char], seconds, grace| {
            absences.note(absent.iter().copied(), after(seconds), grace)
        };
        assert_eq!(note(&['a'], 0, Duration::ZERO), [], "the first");
        assert_eq!(note(&['a', 'b'], 30, GRACE), []);
        assert_eq!(note(&['a', 'b'], 60, GRACE), ['a']);
        assert_eq!(note(&['b'], 61, GRACE), []);
        assert_eq!(note(&['a', 'b'], 100, GRACE), ['b'], "a was seen");
    }

    #[test]
    fn a_failed_observation_begins_anew() {
        let begin = Instant::now();
        let mut absences = Absences::default();
        absences.note(['a'], begin, GRACE);
        absences.clear();
        assert_eq!(absences.note(['a'], begin + GRACE, GRACE), []);
        assert_eq!(absences.note(['a'], begin + 2 * GRACE, GRACE), ['a']);
    }
}
