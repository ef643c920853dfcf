//! Several reasons as one text: all causes at once, but never without an end.

use std::fmt;

/// Reasons that are shown; the others are counted.
const SHOWN_MAX: usize = 8;

/// Why something waits or failed. Each reason is told once, in the order in which it came.
#[derive(Clone, Debug, Default)]
pub struct Reasons {
    shown: Vec<String>,
    more: usize,
}

impl Reasons {
    /// Adds one.
    pub fn push(&mut self, reason: String) {
        if self.shown.contains(&reason) {
            return;
        }
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(reason);
        } else {
            self.more += 1;
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// An error of these reasons; nothing when there is none.
    pub fn into_error(self) -> Option<anyhow::Error> {
        (!self.is_empty()).then(|| anyhow::anyhow!("{self}"))
    }
}

impl FromIterator<anyhow::Error> for Reasons {
    fn from_iter<I: IntoIterator<Item = anyhow::Error>>(errors: I) -> Self {
        let mut reasons = Self::default();
        for error in errors {
            reasons.push(format!("{error:#}"));
        }
        reasons
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.join("; "))?;
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_once_and_too_many_are_counted() {
        let mut reasons = Reasons::default();
        assert!(reasons.is_empty());
        for number in [1, 1, 2] {
            reasons.push(format!("link eth{number}"));
        }
        assert_eq!(reasons.to_string(), "link eth1; link eth2");
        for number in 3..=SHOWN_MAX + 2 {
            reasons.push(format!("link eth{number}"));
        }
        assert!(reasons.to_string().ends_with("link eth8 and 2 more"), "{reasons}");
    }
}
