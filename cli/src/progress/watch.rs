//! Prints the progress of a training.

use blockqnn::environment::{Cancellation, Progress};
use blockqnn::train::Watch;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// How often the progress is printed.
const EVERY: Duration = Duration::from_secs(10);

pub(crate) struct Display {
    cancellation: Cancellation,
    /// Images per epoch.
    images: usize,
    state: RefCell<Option<State>>,
}

/// The training as this process sees it.
struct State {
    began: Instant,
    printed: Instant,
    /// Epochs that were finished when this process first reported on it.
    first: f64,
}

impl Display {
    pub(crate) fn new(cancellation: Cancellation, images: usize) -> Self {
        Self { cancellation, images, state: RefCell::new(None) }
    }
}

impl Watch for Display {
    fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }

    fn report(&self, progress: Progress) {
        let done = f64::from(progress.epoch) + progress.fraction;
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        let state = state.get_or_insert(State { began: now, printed: now, first: done });
        if now.duration_since(state.printed) < EVERY || done <= state.first {
            return;
        }
        state.printed = now;
        let epochs_per_second = (done - state.first) / now.duration_since(state.began).as_secs_f64();
        let left = Duration::from_secs_f64((f64::from(progress.epochs) - done).max(0.0) / epochs_per_second);
        errln!(
            "epoch {}/{}, {:.0} images/s, {} left",
            progress.epoch + 1,
            progress.epochs,
            epochs_per_second * self.images as f64,
            indicatif::HumanDuration(left),
        );
    }
}
