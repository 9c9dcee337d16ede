//! Which trainings fit on a device at the same time.

/// The memory of a device, and how much is reserved.
#[derive(Debug)]
pub(super) struct Packing {
    capacity: Option<u64>,
    taken: u64,
    running: usize,
}

impl Packing {
    /// Creates the packing of a device with `capacity` bytes, or of one on which everything fits.
    pub(super) fn new(capacity: Option<u64>) -> Self {
        Self { capacity, taken: 0, running: 0 }
    }

    /// Whether a training that needs this many bytes may start now: next to the others if it fits, or alone if it never
    /// fits. The estimate may be wrong, so even then it is worth a try.
    pub(super) fn admits(&self, bytes: u64) -> bool {
        match self.capacity {
            Some(capacity) => self.running == 0 || self.taken.saturating_add(bytes) <= capacity,
            None => true,
        }
    }

    pub(super) fn enter(&mut self, bytes: u64) {
        self.taken = self.taken.saturating_add(bytes);
        self.running += 1;
    }

    pub(super) fn leave(&mut self, bytes: u64) {
        self.taken = self.taken.saturating_sub(bytes);
        self.running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_begins_beside_others_only_if_it_fits_and_alone_if_it_never_does() {
        let mut device = Packing::new(Some(10));
        assert!(device.admits(6));
        device.enter(6);
        assert!(device.admits(4) && !device.admits(5) && !device.admits(u64::MAX));
        device.enter(4);
        assert!(!device.admits(1));
        device.leave(6);
        assert!(device.admits(6));
        device.leave(4);
        assert!(device.admits(11));
        device.enter(11);
        assert!(!device.admits(0));
    }

    #[test]
    fn without_a_capacity_everything_fits() {
        let mut device = Packing::new(None);
        device.enter(u64::MAX);
        device.enter(u64::MAX);
        assert!(device.admits(u64::MAX));
    }
}
