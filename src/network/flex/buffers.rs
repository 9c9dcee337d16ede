//! Buffers of tensors that are not needed any more, for the next ones.
//!
//! An allocator returns the memory of large buffers to the operating system, which clears every page of it again when
//! it is next written. A training step needs buffers of the same sizes as the step before. So each thread keeps those
//! that its kernels have read for the last time, and writes the next results into them. What is not used again soon is
//! freed. Some of these buffers were made by other operations; so no more numbers are kept than were taken and not
//! given back. What burn frees, such as the results of a validation, is never given back, and soon counts no more.

use std::cell::RefCell;

/// Smaller buffers are left to the allocator. In tests these are so small that nearly all buffers are kept: a kernel
/// that does not write all of its output is noticed.
const LEAST: usize = if cfg!(test) { 1 << 4 } else { 1 << 14 };
/// A buffer may be so many times larger than what it is used for.
const SLACK: usize = 8;
/// A buffer that stays while so many others are taken is freed: more than a step of a network takes.
const PATIENCE: u64 = 2048;

thread_local! {
    static SHELF: RefCell<Shelf> = const { RefCell::new(Shelf::EMPTY) };
}

/// The buffers of a thread.
struct Shelf {
    /// Buffers, each with the number of those taken before it was given, in the order in which they were given.
    buffers: Vec<(u64, Vec<f32>)>,
    taken: u64,
    /// The numbers of all buffers taken, less those of the buffers given and of those that will not be.
    missing: usize,
    /// The least that was missing since `taken` was last a multiple of [`PATIENCE`]. At the end of a step all are back
    /// that will be.
    least: usize,
}

/// Returns so many numbers, of any value.
pub(super) fn take(numbers: usize) -> Vec<f32> {
    if numbers < LEAST {
        return vec![0.0; numbers];
    }
    let mut buffer = SHELF.with_borrow_mut(|shelf| shelf.take(numbers));
    buffer.resize(numbers, 0.0);
    if cfg!(test) {
        buffer.fill(f32::NAN);
    }
    buffer
}

/// Keeps a buffer for the next result.
pub(super) fn give(buffer: Vec<f32>) {
    if buffer.capacity() >= LEAST {
        SHELF.with_borrow_mut(|shelf| shelf.give(buffer));
    }
}

/// Frees the buffers that the current thread keeps.
pub(in super::super) fn clear() {
    SHELF.set(Shelf::EMPTY);
}

/// Returns how many buffers the current thread keeps.
#[cfg(test)]
pub(in super::super) fn kept() -> usize {
    SHELF.with_borrow(|shelf| shelf.buffers.len())
}

impl Shelf {
    const EMPTY: Self = Self { buffers: Vec::new(), taken: 0, missing: 0, least: 0 };

    /// Returns the smallest buffer that is large enough, and of those the one given last, which may still be in a
    /// cache.
    fn take(&mut self, numbers: usize) -> Vec<f32> {
        self.taken += 1;
        if self.taken.is_multiple_of(PATIENCE) {
            self.missing -= self.least;
            self.least = self.missing;
        }
        let fitting = self.buffers.iter().enumerate().rev().filter_map(|(at, (_, buffer))| {
            (numbers..=SLACK * numbers).contains(&buffer.capacity()).then_some((buffer.capacity(), at))
        });
        let found = fitting.min_by_key(|(capacity, _)| *capacity).map(|(_, at)| self.buffers.remove(at).1);
        let buffer = found.unwrap_or_else(|| vec![0.0; numbers]);
        self.missing += buffer.capacity();
        buffer
    }

    fn give(&mut self, buffer: Vec<f32>) {
        let oldest = self.taken.saturating_sub(PATIENCE);
        let left = self.buffers.iter().take_while(|(taken, _)| *taken < oldest).count();
        self.buffers.drain(..left);
        if let Some(missing) = self.missing.checked_sub(buffer.capacity()) {
            self.missing = missing;
            self.least = self.least.min(missing);
            self.buffers.push((self.taken, buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_buffer_that_is_large_enough_is_taken_again() {
        clear();
        let [small, large] = [LEAST, LEAST * 3 / 2].map(take);
        let addresses = [small.as_ptr(), large.as_ptr()];
        give(large);
        give(small);
        let (small, large) = (take(LEAST), take(LEAST + 1));
        assert_eq!([&small, &large].map(Vec::as_ptr), addresses);
        assert_eq!([&small, &large].map(Vec::len), [LEAST, LEAST + 1]);
        give(large);
        let unlike = take(LEAST * 4);
        assert_eq!((unlike.len(), kept()), (LEAST * 4, 1));
    }

    #[test]
    fn small_buffers_and_old_ones_and_those_of_others_are_freed() {
        clear();
        give(vec![0.0; LEAST]);
        assert_eq!(kept(), 0);
        give(take(LEAST - 1));
        assert_eq!(kept(), 0);
        give(take(LEAST));
        assert_eq!(kept(), 1);
        (0..=PATIENCE).for_each(|_| drop(take(3 * LEAST)));
        give(take(LEAST * 3));
        assert_eq!(kept(), 1);
        clear();
        assert_eq!(kept(), 0);
    }

    #[test]
    fn what_is_never_given_back_makes_no_room_for_the_buffers_of_others() {
        clear();
        (0..10).for_each(|_| drop(take(LEAST)));
        // Steps that give back all that they take.
        let step = || [take(LEAST), take(2 * LEAST)].into_iter().for_each(give);
        (0..PATIENCE).for_each(|_| step());
        let before = kept();
        give(vec![0.0; LEAST]);
        assert_eq!(kept(), before);
        let [early, late] = [take(LEAST), take(LEAST)];
        (0..PATIENCE / 4).for_each(|_| step());
        give(early);
        give(late);
        assert!(kept() > before, "what a step has taken is expected back");
        clear();
    }
}
