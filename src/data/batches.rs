use crate::seed;
use std::num::NonZeroUsize;
use std::ops::Range;

/// The order in which an epoch visits the images, cut into batches.
///
/// The last batch is kept even if it is shorter than the others, so that every image is visited once per epoch. It may
/// hold a single image. Batch normalisation then averages over the positions of that image alone, which is well defined
/// on feature maps larger than one pixel.
///
/// ```
/// use std::num::NonZeroUsize;
///
/// use blockqnn::data::Batches;
///
/// let size = NonZeroUsize::new(4).expect("4 is not 0");
/// let batches = Batches::shuffled(10, size, 7, 0);
/// let sizes: Vec<usize> = batches.iter().map(|batch| batch.len()).collect();
/// assert_eq!(sizes, [4, 4, 2]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batches {
    order: Vec<usize>,
    size: NonZeroUsize,
}

impl Batches {
    /// Puts the images `0..images` into the random order of an epoch, which depends on `(seed, epoch)` alone.
    #[must_use]
    pub fn shuffled(images: usize, size: NonZeroUsize, seed: u64, epoch: u64) -> Self {
        let mut batches = Self::in_order(images, size);
        seed::shuffle(&mut seed::stream(seed, "epoch", epoch), &mut batches.order);
        batches
    }

    /// Keeps the images `0..images` in their own order, as for validation.
    #[must_use]
    pub fn in_order(images: usize, size: NonZeroUsize) -> Self {
        Self { order: (0..images).collect(), size }
    }

    /// Returns the number of batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len().div_ceil(self.size.get())
    }

    /// Returns whether there are no images, and so no batches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Iterates over the batches, as indices of images.
    pub fn iter(&self) -> std::slice::Chunks<'_, usize> {
        self.order.chunks(self.size.get())
    }

    /// Iterates over the batches from number `first` on, each with the range of its images in the order.
    pub(super) fn with_places(&self, first: usize) -> impl Iterator<Item = (Range<usize>, &[usize])> {
        let mut begin: usize = self.iter().take(first).map(<[usize]>::len).sum();
        self.iter().skip(first).map(move |indices| {
            let places = begin..begin + indices.len();
            begin = places.end;
            (places, indices)
        })
    }
}

impl<'a> IntoIterator for &'a Batches {
    type Item = &'a [usize];
    type IntoIter = std::slice::Chunks<'a, usize>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).unwrap()
    }

    #[test]
    fn an_epoch_visits_every_image_once() {
        let batches = Batches::shuffled(103, size(10), 7, 3);
        assert_eq!((batches.len(), batches.iter().count()), (11, 11));
        assert_eq!(batches.iter().last().map(<[usize]>::len), Some(3));
        let mut visited: Vec<usize> = batches.into_iter().flatten().copied().collect();
        assert!(!visited.is_sorted());
        visited.sort_unstable();
        assert!(visited.into_iter().eq(0..103));
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch() {
        let order = |seed, epoch| Batches::shuffled(50, size(50), seed, epoch);
        assert_eq!(order(1, 1), order(1, 1));
        assert_ne!(order(1, 1), order(1, 2));
        assert_ne!(order(1, 1), order(2, 1));
    }

    #[test]
    fn one_image_makes_one_batch_and_no_images_make_none() {
        assert_eq!(Batches::shuffled(1, size(256), 0, 0).iter().collect::<Vec<_>>(), [&[0]]);
        assert!(Batches::shuffled(0, size(256), 0, 0).is_empty());
        assert_eq!(Batches::in_order(5, size(2)).iter().collect::<Vec<_>>(), [&[0, 1][..], &[2, 3], &[4]]);
    }
}
