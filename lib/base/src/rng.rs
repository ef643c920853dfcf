//! Randomness by parameter.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::{OsRng, StdRng};
use rand::{Rng as _, RngCore, SeedableRng, TryRngCore};

/// Source of random numbers: the kernel's, or a seeded one for tests.
#[derive(Clone, Debug)]
pub struct Rng(Source);

#[derive(Clone, Debug)]
enum Source {
    Kernel,
    Seeded(Arc<Mutex<StdRng>>),
}

impl Rng {
    /// The kernel's generator; the only one fit for secrets.
    #[must_use]
    pub const fn kernel() -> Self {
        Self(Source::Kernel)
    }

    /// A repeatable generator for tests and simulations.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Source::Kernel => OsRng.unwrap_err().fill_bytes(bytes),
            Source::Seeded(rng) => rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes),
        }
    }

    /// `N` random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A number in `0.0..1.0`.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        match &self.0 {
            Source::Kernel => OsRng.unwrap_err().random(),
            Source::Seeded(rng) => rng.lock().unwrap_or_else(PoisonError::into_inner).random(),
        }
    }

    /// A number below `bound`, evenly distributed; `bound` must not be zero.
    #[must_use]
    pub fn below(&self, bound: u32) -> u32 {
        match &self.0 {
            Source::Kernel => OsRng.unwrap_err().random_range(0..bound.max(1)),
            Source::Seeded(rng) => {
                rng.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..bound.max(1))
            }
        }
    }

    /// A version 4 UUID in its text form (RFC 9562).
    #[must_use]
    pub fn uuid(&self) -> String {
        let mut b: [u8; 16] = self.bytes();
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        let hex: Vec<String> = b.iter().map(|byte| format!("{byte:02x}")).collect();
        let part = |range: std::ops::Range<usize>| hex[range].concat();
        format!("{}-{}-{}-{}-{}", part(0..4), part(4..6), part(6..8), part(8..10), part(10..16))
    }
}

impl Default for Rng {
    fn default() -> Self {
        Self::kernel()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_uuids_are_version_four() {
        assert_eq!(Rng::seeded(7).bytes::<8>(), Rng::seeded(7).bytes::<8>());
        let uuid = Rng::kernel().uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(Rng::kernel().below(3) < 3);
    }
}
