//! How many requests are under way to the API server at a time.
//!
//! Each takes a connection. To open one costs server and node more than the request itself, so that a
//! burst of pods is written sooner over a few, one after the other, than over as many as there are pods.
//! But nothing here knows how long the server takes for an answer, and a slow one must not be asked by a
//! few at a time: where nothing moves for a moment, twice as many go.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

/// Requests at a time, of a server that answers at once.
pub(super) const FEW: usize = 16;
/// So long none of them may be without an answer before there are more. About what it takes to open a
/// connection to a server that is far away.
const STANDSTILL: Duration = Duration::from_millis(20);

/// Lets requests go in their order.
#[derive(Debug)]
pub(super) struct Pace {
    free: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    under_way: usize,
    /// When the last was answered, or more were let go.
    moved: Instant,
}

/// A request that is under way. Ends with its scope.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pace: &'a Pace,
    permit: Option<SemaphorePermit<'a>>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            free: Semaphore::new(FEW),
            state: Mutex::new(State {
                under_way: 0,
                moved: Instant::now(),
            }),
        }
    }

    /// Waits until a request may go.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // One future all the time, which keeps its place.
        let mut acquired = pin!(self.free.acquire());
        let permit = loop {
            match timeout(STANDSTILL, &mut acquired).await {
                // It is never closed.
                Ok(permit) => break permit.ok(),
                Err(_) => self.go_on(),
            }
        };
        self.state().under_way += 1;
        Turn { pace: self, permit }
    }

    /// Lets more go where nothing moves.
    fn go_on(&self) {
        let mut state = self.state();
        if state.moved.elapsed() >= STANDSTILL {
            state.moved = Instant::now();
            self.free.add_permits(state.under_way);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.state();
        state.under_way -= 1;
        state.moved = Instant::now();
        // Those that were added go when nobody needs them any more.
        let free = &self.pace.free;
        if let Some(unneeded) = free.available_permits().checked_sub(FEW) {
            free.forget_permits(unneeded);
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{FutureExt, join_all};

    use super::*;

    /// How long so many requests take, and how many of them were under way at most, with a server that
    /// needs so long for each and answers as many at once as it is asked.
    async fn burst(pace: &Pace, requests: usize, answer: Duration) -> (Duration, usize) {
        let (start, most) = (Instant::now(), Mutex::new(0));
        join_all((0..requests).map(|_| async {
            let _turn = pace.turn().await;
            let under_way = pace.state().under_way;
            {
                let mut most = most.lock().unwrap();
                *most = under_way.max(*most);
            }
            tokio::time::sleep(answer).await;
        }))
        .await;
        (start.elapsed(), most.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_at_once_is_asked_by_a_few() {
        let pace = Pace::new();
        let (_, most) = burst(&pace, 500, Duration::from_millis(4)).await;
        assert_eq!(most, FEW);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_is_soon_asked_by_all() {
        let pace = Pace::new();
        let (elapsed, most) = burst(&pace, 200, Duration::from_secs(1)).await;
        assert!(elapsed < Duration::from_millis(1200), "{elapsed:?}");
        assert_eq!(most, 200);
        // And by a few again, once it is fast.
        let (_, most) = burst(&pace, 500, Duration::from_millis(4)).await;
        assert_eq!(most, FEW);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_first_goes_first_however_long_it_takes() {
        let pace = Pace::new();
        let order = Mutex::new(Vec::new());
        let requests = (0..5 * FEW).map(|number| {
            let (pace, order) = (&pace, &order);
            async move {
                // The last comes a moment before the others have waited for long.
                if number == 5 * FEW - 1 {
                    tokio::time::sleep(STANDSTILL.mul_f64(0.9)).await;
                }
                let _turn = pace.turn().await;
                order.lock().unwrap().push(number);
                tokio::time::sleep(STANDSTILL.mul_f64(0.7)).await;
            }
        });
        join_all(requests).await;
        let order = order.into_inner().unwrap();
        assert!(order.is_sorted(), "{order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_takes_no_turn_away() {
        let pace = Pace::new();
        let turns = join_all((0..FEW).map(|_| pace.turn())).await;
        assert!(pace.turn().now_or_never().is_none());
        drop(turns);
        assert_eq!(pace.free.available_permits(), FEW);
    }
}
