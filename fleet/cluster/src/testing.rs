//! What several tests need.

use std::sync::OnceLock;
use std::time::SystemTime;

use corten_base::{Clock, Rng};
use corten_config::SecretsBundle;

use crate::Labels;

/// The time of all tests.
pub fn now() -> SystemTime {
    Clock::fixed(1_800_000_000).now()
}

/// Secrets of a cluster. Making them takes a moment, so all tests share them.
pub fn bundle() -> &'static SecretsBundle {
    static BUNDLE: OnceLock<SecretsBundle> = OnceLock::new();
    BUNDLE.get_or_init(|| SecretsBundle::generate(now(), &Rng::seeded(1)).unwrap())
}

/// Labels with these keys and values.
pub fn labels(entries: &[(&str, &str)]) -> Labels {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
