//! Work that threads do ahead of the consumer of its results, in order and with bounded memory.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// An iterator over the results of `work(0)`, `work(1)`, ... in this order, which several threads compute ahead.
///
/// At most `window` results are in progress or waiting at a time. The threads end when the iterator is dropped.
pub(crate) struct Ahead<T> {
    work: Arc<dyn Fn(usize) -> T + Send + Sync>,
    /// Numbers that may be computed now; the threads end when this is dropped.
    numbers: Option<Sender<usize>>,
    results: Receiver<(usize, thread::Result<T>)>,
    /// Results that came before their turn.
    ready: BTreeMap<usize, thread::Result<T>>,
    handed_out: usize,
    taken: usize,
    count: usize,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Ahead<T> {
    pub(crate) fn new(
        count: usize,
        threads: NonZeroUsize,
        window: NonZeroUsize,
        work: impl Fn(usize) -> T + Send + Sync + 'static,
    ) -> Self {
        let work: Arc<dyn Fn(usize) -> T + Send + Sync> = Arc::new(work);
        let (numbers, queue) = channel::<usize>();
        let (sender, results) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..threads.get().min(count)).filter_map(|thread| {
            let (work, queue, sender) = (Arc::clone(&work), Arc::clone(&queue), sender.clone());
            let next = move || queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
            let run = move || {
                while let Some(number) = next() {
                    let result = catch_unwind(AssertUnwindSafe(|| work(number)));
                    if sender.send((number, result)).is_err() {
                        return;
                    }
                }
            };
            // Fewer threads than requested give the same results. Without any, `next` does the work itself.
            thread::Builder::new().name(format!("images {thread}")).spawn(run).ok()
        });
        let (threads, ready) = (threads.collect(), BTreeMap::new());
        let mut ahead = Self { work, numbers: Some(numbers), results, ready, handed_out: 0, taken: 0, count, threads };
        (0..window.get().min(count)).for_each(|_| ahead.hand_out());
        ahead
    }
}

impl<T> Ahead<T> {
    /// Lets a thread compute one more result, if any is left.
    fn hand_out(&mut self) {
        if let Some(numbers) = self.numbers.as_ref().filter(|_| self.handed_out < self.count) {
            // Without threads nobody receives it.
            let _ = numbers.send(self.handed_out);
            self.handed_out += 1;
        }
    }
}

impl<T> Iterator for Ahead<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.taken == self.count {
            return None;
        }
        let result = loop {
            if let Some(result) = self.ready.remove(&self.taken) {
                break result;
            }
            match self.results.recv() {
                Ok((number, result)) => drop(self.ready.insert(number, result)),
                Err(_) => break Ok((self.work)(self.taken)),
            }
        };
        self.taken += 1;
        self.hand_out();
        match result {
            Ok(result) => Some(result),
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.numbers = None;
        // What was handed out and not begun is not computed any more.
        self.results = channel().1;
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
