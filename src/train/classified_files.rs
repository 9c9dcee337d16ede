//! Image files that are classified while the next ones are read.

use super::image_classifier::{ClassifiedFile, ClassifierError, ImageClassifier};
use crate::data::{Ahead, DataError};
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// An iterator over image files and their predictions: see [`ImageClassifier::classify_files`].
pub struct ClassifiedFiles<'c> {
    classifier: &'c ImageClassifier,
    files: Arc<[PathBuf]>,
    /// How many of the files were taken out of `images`.
    taken: usize,
    images: Ahead<Result<Vec<u8>, DataError>>,
    ready: VecDeque<ClassifiedFile>,
}

impl fmt::Debug for ClassifiedFiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassifiedFiles").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl<'c> ClassifiedFiles<'c> {
    /// Creates the iterator over `files`, whose images `images` yields in the same order.
    pub(super) fn new(
        classifier: &'c ImageClassifier,
        files: Arc<[PathBuf]>,
        images: Ahead<Result<Vec<u8>, DataError>>,
    ) -> Self {
        Self { classifier, files, taken: 0, images, ready: VecDeque::new() }
    }

    /// Classifies the next batch of files.
    fn next_batch(&mut self) -> Result<(), ClassifierError> {
        let images: Vec<_> = self.images.by_ref().take(self.classifier.batch().get()).collect();
        let files = &self.files[self.taken..][..images.len()];
        self.taken += images.len();
        let count = images.iter().flatten().count();
        let pixels: Vec<u8> = images.iter().flatten().flatten().copied().collect();
        let predictions = if count > 0 { self.classifier.classify_pixels(count, pixels)? } else { Vec::new() };
        let mut predictions = predictions.into_iter();
        for (file, image) in files.iter().zip(images) {
            if let Some(prediction) = image.map(|_| predictions.next()).transpose() {
                self.ready.push_back((file.clone(), prediction));
            }
        }
        Ok(())
    }
}

impl Iterator for ClassifiedFiles<'_> {
    type Item = Result<ClassifiedFile, ClassifierError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty()
            && self.taken < self.files.len()
            && let Err(error) = self.next_batch()
        {
            // What comes after a failure of the device would fail, too.
            self.taken = self.files.len();
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}
