//! The manager's own log: one line for each event on standard error, `key=value` for what belongs to it.
//!
//! The level is a setting; that of the discovery service is another. `CORTEN_LOG` counts over both, as in all programs
//! of Corten, with levels by target: `debug,h2=info`.

use corten_fleet_settings::{Level, Settings};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Libraries that tell too much to those who look for errors of the manager.
const NOISY: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "tower"];
/// Where the discovery service logs from.
const DISCOVERY: [&str; 2] = ["corten_fleet::discovery", "corten_fleet_discovery"];

/// Begins to log; a second call in the same process is without effect.
pub fn init(settings: &Settings) {
    let asked = std::env::var("CORTEN_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = asked.unwrap_or_else(|| usual(settings));
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(false).with_target(true).with_writer(std::io::stderr);
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

fn usual(settings: &Settings) -> Targets {
    let level = filter(settings.logs.level);
    let noisy = NOISY.map(|target| (target, level.min(LevelFilter::INFO)));
    let filters = Targets::new().with_default(level).with_targets(noisy);
    match &settings.services.embedded_discovery_service {
        Some(discovery) => {
            let level = filter(discovery.log_level);
            filters.with_targets(DISCOVERY.map(|target| (target, level)))
        }
        None => filters,
    }
}

const fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level as Loudness;

    use super::*;

    #[test]
    fn the_discovery_service_has_a_level_of_its_own_and_libraries_are_never_loud() {
        let mut settings = Settings::default();
        settings.logs.level = Level::Debug;
        let filters = usual(&settings);
        assert!(filters.would_enable("corten_fleet::wire", &Loudness::DEBUG));
        assert!(!filters.would_enable("corten_fleet::discovery", &Loudness::INFO));
        assert!(filters.would_enable("corten_fleet::discovery", &Loudness::WARN));
        assert!(!filters.would_enable("h2::proto", &Loudness::DEBUG));
        settings.logs.level = Level::Error;
        assert!(!usual(&settings).would_enable("hyper", &Loudness::WARN));
    }
}
