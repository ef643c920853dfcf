//! How far a download is, told in tenths.

use crate::context::Cx;
use crate::units;

/// What is shorter is there before anybody could read it, bytes.
const WORTH_TELLING: u64 = 16 << 20;
/// How often it is told.
const STEPS: u64 = 10;

/// Tells how far a download is.
pub struct Progress<'a> {
    cx: &'a Cx,
    /// Bytes of all; nothing if the server does not tell.
    total: Option<u64>,
    told: u64,
}

impl<'a> Progress<'a> {
    /// A download of so many bytes, of which some are there.
    pub fn new(cx: &'a Cx, total: Option<u64>, have: u64) -> Self {
        let total = total.filter(|total| *total >= WORTH_TELLING);
        Self { cx, total, told: total.map_or(0, |total| step(have, total)) }
    }

    /// Tells that so many bytes are there, if that is much more than was told last.
    pub fn tell(&mut self, have: u64) {
        let Some(total) = self.total else { return };
        let now = step(have, total);
        if now > self.told && now < STEPS {
            self.told = now;
            self.cx.say(format!("{} % of {}", now * 100 / STEPS, units::bytes(total)));
        }
    }
}

/// Which step of all so many bytes are.
const fn step(have: u64, total: u64) -> u64 {
    match have.saturating_mul(STEPS).checked_div(total) {
        Some(step) => step,
        None => STEPS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_tenths() {
        assert_eq!([0, 9, 10, 55, 99, 100].map(|have| step(have, 100)), [0, 0, 1, 5, 9, 10]);
        assert_eq!(step(0, 0), STEPS);
    }
}
