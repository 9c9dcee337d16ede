//! The progress of long trainings: a line for each every few seconds, with its speed and the time left.

use super::{done, seconds_as_text};
use blockqnn::environment::{BoxError, Cancellation, Progress};
use blockqnn::evaluation::{Evaluation, Trial};
use blockqnn::search::{Observer, RecordOf};
use blockqnn::space::SearchSpace;
use blockqnn::train::Watch;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How often the progress of a training is printed.
const EVERY: Duration = Duration::from_secs(10);

/// Prints the progress of the trainings of a search, such as a verification.
pub(crate) struct Trainings {
    /// Images per epoch.
    images: usize,
    running: HashMap<u64, Running>,
}

/// A training as this process sees it.
struct Running {
    began: Instant,
    printed: Instant,
    /// The share that was done when this process first reported on it.
    first: f64,
}

impl Trainings {
    pub(crate) fn new(images: usize) -> Self {
        Self { images, running: HashMap::new() }
    }

    /// Where a training is, if it is time to say so again: `epoch 3/12, 512 images/s, 5 minutes left`.
    fn line(&mut self, training: u64, progress: &Progress) -> Option<String> {
        let (now, done) = (Instant::now(), done(progress));
        let running = self.running.entry(training).or_insert(Running { began: now, printed: now, first: done });
        if now.duration_since(running.printed) < EVERY || done <= running.first {
            return None;
        }
        running.printed = now;
        let per_second = (done - running.first) / now.duration_since(running.began).as_secs_f64();
        Some(format!(
            "epoch {}/{}, {:.0} images/s, {} left",
            progress.epoch.saturating_add(1).min(progress.epochs),
            progress.epochs,
            per_second * f64::from(progress.epochs) * self.images as f64,
            seconds_as_text((1.0 - done).max(0.0) / per_second),
        ))
    }
}

impl<S: SearchSpace<Architecture: fmt::Display>> Observer<S> for Trainings {
    fn on_restored(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        errln!("block {} was finished before", record.id + 1);
        Ok(())
    }

    fn on_proposed(&mut self, trial: &Trial, block: &S::Architecture) -> Result<(), BoxError> {
        errln!("block {}: {block}", trial.id + 1);
        Ok(())
    }

    fn on_progress(&mut self, trial: u64, progress: &Progress) {
        if let Some(line) = self.line(trial, progress) {
            errln!("block {}: {line}", trial + 1);
        }
    }

    fn on_fault(&mut self, trial: u64, attempt: u32, message: &str) {
        errln!("block {}: attempt {attempt} failed: {message}", trial + 1);
    }

    fn on_finished(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        let block = record.id + 1;
        match (record.evaluation.metrics(), &record.evaluation) {
            (Some(metrics), _) => errln!("block {block}: {:.2} % in {:.0} s", metrics.value, metrics.seconds),
            (None, Evaluation::Infeasible(reason)) => errln!("block {block}: not measured: {reason}"),
            (None, _) => errln!("block {block}: not measured"),
        }
        Ok(())
    }
}

/// Prints the progress of a single training, and stops it.
pub(crate) struct Watched {
    cancellation: Cancellation,
    trainings: RefCell<Trainings>,
}

impl Watched {
    pub(crate) fn new(cancellation: Cancellation, images: usize) -> Self {
        Self { cancellation, trainings: RefCell::new(Trainings::new(images)) }
    }
}

impl Watch for Watched {
    fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }

    fn report(&self, progress: Progress) {
        if let Some(line) = self.trainings.borrow_mut().line(0, &progress) {
            errln!("{line}");
        }
    }
}
