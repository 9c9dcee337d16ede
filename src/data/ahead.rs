//! Work that threads do ahead of the consumer of its results, in order and with bounded memory.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// An iterator over the results of `work(0)`, `work(1)`, ... in this order, which several threads compute ahead.
///
/// At most `window` results are in progress or waiting at a time. The threads end when the iterator is dropped.
pub(crate) struct Ahead<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    work: Box<dyn Fn(usize) -> T + Send + Sync>,
    count: usize,
    window: NonZeroUsize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// The next number to be computed.
    next: usize,
    /// The number of results that were taken.
    taken: usize,
    ready: BTreeMap<usize, thread::Result<T>>,
    stopped: bool,
}

impl<T: Send + 'static> Ahead<T> {
    pub(crate) fn new(
        count: usize,
        threads: NonZeroUsize,
        window: NonZeroUsize,
        work: impl Fn(usize) -> T + Send + Sync + 'static,
    ) -> Self {
        let state = State { next: 0, taken: 0, ready: BTreeMap::new(), stopped: false };
        let shared =
            Arc::new(Shared { work: Box::new(work), count, window, state: Mutex::new(state), changed: Condvar::new() });
        let threads = (0..threads.get().min(count)).filter_map(|number| {
            let shared = Arc::clone(&shared);
            // Fewer threads than requested give the same results. Without any, `next` does the work itself.
            thread::Builder::new().name(format!("images {number}")).spawn(move || shared.run()).ok()
        });
        let threads = threads.collect();
        Self { shared, threads }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            if state.stopped || state.next == self.count {
                return;
            }
            if state.next - state.taken >= self.window.get() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let number = state.next;
            state.next += 1;
            drop(state);
            let result = catch_unwind(AssertUnwindSafe(|| (self.work)(number)));
            state = self.lock();
            state.ready.insert(number, result);
            self.changed.notify_all();
        }
    }
}

impl<T> Iterator for Ahead<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let shared = &*self.shared;
        let mut state = shared.lock();
        let number = state.taken;
        if number == shared.count {
            return None;
        }
        let result = loop {
            if let Some(result) = state.ready.remove(&number) {
                break result;
            }
            if self.threads.is_empty() {
                state.next = number + 1;
                break Ok((shared.work)(number));
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.taken += 1;
        drop(state);
        shared.changed.notify_all();
        match result {
            Ok(result) => Some(result),
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // The thread caught the panics of its work.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn size(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }

    #[test]
    fn results_come_in_order_from_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let ahead = Ahead::new(50, size(threads), size(5), |number| {
                // Later results are ready sooner.
                thread::sleep(Duration::from_micros(500 * (5 - number as u64 % 5)));
                number * number
            });
            assert!(ahead.eq((0..50).map(|number| number * number)), "{threads}");
        }
    }

    #[test]
    fn no_more_work_is_started_than_the_window_allows_however_slow_the_consumer_is() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&begun);
        let mut ahead = Ahead::new(100, size(4), size(6), move |_| counter.fetch_add(1, Ordering::SeqCst));
        for taken in 0..20 {
            thread::sleep(Duration::from_millis(2));
            assert!(begun.load(Ordering::SeqCst) <= taken + 6);
            ahead.next();
        }
        drop(ahead);
        // The threads ended without doing the rest.
        assert!(begun.load(Ordering::SeqCst) <= 26);
    }

    #[test]
    fn the_threads_work_ahead_of_the_consumer() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&begun);
        let _ahead = Ahead::new(100, size(2), size(8), move |_| counter.fetch_add(1, Ordering::SeqCst));
        while begun.load(Ordering::SeqCst) < 8 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_panic_in_the_work_reaches_the_consumer() {
        let mut ahead = Ahead::new(3, size(2), size(2), |number| assert_ne!(number, 1));
        assert_eq!(ahead.next(), Some(()));
        assert!(catch_unwind(AssertUnwindSafe(|| ahead.next())).is_err());
    }
}
