//! The progress of work on many files: a bar on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar below the lines that are printed meanwhile; nothing where the standard error is no terminal.
pub(crate) struct Files(ProgressBar);

impl Files {
    pub(crate) fn new(files: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len}, {per_sec}, {eta} left");
        let bar = ProgressBar::new(files as u64);
        Self(style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style)))
    }

    /// Prints a line without the bar in its way.
    pub(crate) fn above(&mut self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    pub(crate) fn advance(&mut self) {
        self.0.inc(1);
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
