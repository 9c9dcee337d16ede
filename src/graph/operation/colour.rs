//! What tells operations apart in fingerprints.

/// The bytes that distinguish an operation from all others: its number, then its settings.
///
/// Fingerprints depend on them, so no number may change its meaning or be used again: 0 to 11 have two bytes, the
/// number and the kernel. How many bytes follow depends on the number alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Colour {
    /// Padded with zeros, so that colours of two bytes have the order of their bytes.
    bytes: [u8; Self::MOST],
    length: u8,
}

impl Colour {
    const MOST: usize = 8;

    /// Creates a colour of `N` bytes, at most 8.
    pub(super) fn new<const N: usize>(parts: [u8; N]) -> Self {
        const { assert!(N <= Self::MOST) };
        let mut bytes = [0; Self::MOST];
        bytes[..N].copy_from_slice(&parts);
        #[expect(clippy::cast_possible_truncation, reason = "at most 8")]
        Self { bytes, length: N as u8 }
    }

    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length.into()]
    }

    /// Returns the colour as a number. Of two bytes, it is what they are together.
    pub(crate) fn number(self) -> u64 {
        match self.length {
            2 => u16::from_be_bytes([self.bytes[0], self.bytes[1]]).into(),
            _ => u64::from_be_bytes(self.bytes),
        }
    }
}
