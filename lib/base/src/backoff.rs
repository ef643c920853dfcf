//! Exponential back-off with jitter; a value, it never sleeps itself.

use std::time::Duration;

use crate::Rng;

/// Delay that doubles from `first` to `max`, each step shortened by up to a quarter at random.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    step: u32,
}

impl Backoff {
    /// A back-off that starts at `first` and never exceeds `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, step: 0 }
    }

    /// The next delay; each call doubles it.
    pub fn next_delay(&mut self, rng: &Rng) -> Duration {
        let full = self.first.saturating_mul(1 << self.step.min(20)).min(self.max);
        self.step = self.step.saturating_add(1);
        full.mul_f64(1.0 - 0.25 * rng.fraction())
    }

    /// Back to the first delay, after a success.
    pub fn reset(&mut self) {
        self.step = 0;
    }

    /// How many delays were handed out since the last reset.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum_and_resets() {
        let rng = Rng::seeded(1);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        for full in [1.0, 2.0, 4.0, 8.0, 8.0] {
            let delay = backoff.next_delay(&rng).as_secs_f64();
            assert!(delay <= full && delay >= full * 0.75, "{delay} for {full}");
        }
        backoff.reset();
        assert!(backoff.next_delay(&rng) <= Duration::from_secs(1));
    }
}
