//! Limits concurrent requests to the API server.
//!
//! Each concurrent request takes a connection, and opening one costs server and node more than the
//! request itself. A burst is therefore written faster over a few connections than over one per
//! pod. But the server's latency is unknown, and a slow one needs more concurrency: whenever no
//! request completes for a moment, the limit doubles.

use std::pin::pin;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

/// Concurrency limit for a fast server.
pub(crate) const FIRST_LIMIT: usize = 16;
/// If no request completes in this time, double the limit. About what opening a connection to a
/// distant server takes.
const STANDSTILL: Duration = Duration::from_millis(20);

/// Starts requests in FIFO order within the limit.
#[derive(Debug)]
pub(crate) struct Concurrency {
    free: Semaphore,
    state: Mutex<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    under_way: usize,
    /// When a request last completed, or the limit was last raised.
    moved: Instant,
}

/// A request in flight, until dropped.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    concurrency: &'a Concurrency,
    permit: Option<SemaphorePermit<'a>>,
}

impl Concurrency {
    pub(crate) fn new() -> Self {
        Self {
            free: Semaphore::new(FIRST_LIMIT),
            state: Mutex::new(InFlight {
                under_way: 0,
                moved: Instant::now(),
            }),
        }
    }

    /// Waits until a request may start.
    pub(crate) async fn slot(&self) -> Slot<'_> {
        // A single future throughout, to keep its place in the queue.
        let mut acquired = pin!(self.free.acquire());
        let permit = loop {
            match timeout(STANDSTILL, &mut acquired).await {
                // The semaphore is never closed.
                Ok(permit) => break permit.ok(),
                Err(_) => self.raise_limit(),
            }
        };
        self.state().under_way += 1;
        Slot {
            concurrency: self,
            permit,
        }
    }

    /// Raises the limit if nothing has completed for a while.
    fn raise_limit(&self) {
        let mut state = self.state();
        if state.moved.elapsed() >= STANDSTILL {
            state.moved = Instant::now();
            self.free.add_permits(state.under_way);
        }
    }

    fn state(&self) -> MutexGuard<'_, InFlight> {
        self.state.lock()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.concurrency.state();
        state.under_way -= 1;
        state.moved = Instant::now();
        // Retire the extra permits once they are idle.
        let free = &self.concurrency.free;
        if let Some(unneeded) = free.available_permits().checked_sub(FIRST_LIMIT) {
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

    /// Returns how long `requests` take, and how many were in flight at most, with a server that
    /// answers each after `answer` and any number concurrently.
    async fn burst(
        concurrency: &Concurrency,
        requests: usize,
        answer: Duration,
    ) -> (Duration, usize) {
        let (start, most) = (Instant::now(), Mutex::new(0));
        join_all((0..requests).map(|_| async {
            let _slot = concurrency.slot().await;
            let under_way = concurrency.state().under_way;
            {
                let mut most = most.lock();
                *most = under_way.max(*most);
            }
            tokio::time::sleep(answer).await;
        }))
        .await;
        (start.elapsed(), most.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn fast_server_keeps_concurrency_low() {
        let concurrency = Concurrency::new();
        let (_, most) = burst(&concurrency, 500, Duration::from_millis(4)).await;
        assert_eq!(most, FIRST_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_is_soon_asked_by_all() {
        let concurrency = Concurrency::new();
        let (elapsed, most) = burst(&concurrency, 200, Duration::from_secs(1)).await;
        assert!(elapsed < Duration::from_millis(1200), "{elapsed:?}");
        assert_eq!(most, 200);
        // The limit shrinks again once the server is fast.
        let (_, most) = burst(&concurrency, 500, Duration::from_millis(4)).await;
        assert_eq!(most, FIRST_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_sent_in_arrival_order() {
        let concurrency = Concurrency::new();
        let order = Mutex::new(Vec::new());
        let requests = (0..5 * FIRST_LIMIT).map(|number| {
            let (concurrency, order) = (&concurrency, &order);
            async move {
                // The last request comes just before the others have waited too long.
                if number == 5 * FIRST_LIMIT - 1 {
                    tokio::time::sleep(STANDSTILL.mul_f64(0.9)).await;
                }
                let _slot = concurrency.slot().await;
                order.lock().push(number);
                tokio::time::sleep(STANDSTILL.mul_f64(0.7)).await;
            }
        });
        join_all(requests).await;
        let order = order.into_inner();
        assert!(order.is_sorted(), "{order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_waiter_takes_no_turn_away() {
        let concurrency = Concurrency::new();
        let turns = join_all((0..FIRST_LIMIT).map(|_| concurrency.slot())).await;
        assert!(concurrency.slot().now_or_never().is_none());
        drop(turns);
        assert_eq!(concurrency.free.available_permits(), FIRST_LIMIT);
    }
}
