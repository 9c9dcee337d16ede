//! The progress of a command, on standard error.

mod files;
mod pace;
mod search;
mod trainings;

pub(crate) use files::Files;
pub(crate) use search::Search;
pub(crate) use trainings::{Trainings, Watched};

use blockqnn::environment::Progress;
use indicatif::HumanDuration;
use std::time::Duration;

/// The share of a training that is done.
fn done(progress: &Progress) -> f64 {
    (f64::from(progress.epoch) + progress.fraction) / f64::from(progress.epochs.max(1))
}

/// Seconds as text, such as `5 minutes`. What is not a number of seconds becomes the longest duration.
pub(crate) fn seconds_as_text(seconds: f64) -> String {
    HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)).to_string()
}
