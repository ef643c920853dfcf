//! Our own programs log to standard error, one line an event; init appends it to the service's file.
//!
//! machined also mirrors its log to whoever stands at the console; the mirror gets plain lines.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Takes each event as one line.
pub type Mirror = Box<dyn Fn(Level, &str) + Send + Sync>;

/// Sets up logging for a program; `debug` is the machine configuration's `debug` switch.
///
/// A second call in the same process is without effect.
pub fn init(debug: bool) {
    init_mirrored(debug, None);
}

/// The same, with a mirror.
pub fn init_mirrored(debug: bool, mirror: Option<Mirror>) {
    let asked = std::env::var("CORTEN_LOG").ok().and_then(|text| text.parse().ok());
    let filter = asked.unwrap_or_else(|| usual(debug));
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(false).with_target(true).with_writer(std::io::stderr);
    let _ = tracing_subscriber::registry().with(filter).with(lines).with(mirror.map(MirrorLayer)).try_init();
}

/// What is logged when `CORTEN_LOG` does not say otherwise: levels by target, as in `debug,h2=info`.
fn usual(debug: bool) -> Targets {
    if !debug {
        return Targets::new().with_default(LevelFilter::INFO);
    }
    let noisy = ["h2", "hyper", "tower"].map(|target| (target, LevelFilter::INFO));
    Targets::new().with_default(LevelFilter::DEBUG).with_targets(noisy)
}

struct MirrorLayer(Mirror);

impl<S: Subscriber> Layer<S> for MirrorLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        (self.0)(*event.metadata().level(), &format!("{}{}", line.message, line.fields));
    }
}

/// An event as a person reads it: the message, then what belongs to it.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing into a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_mirror_sees_the_message_before_its_fields() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let copy = seen.clone();
        let mirror: Mirror = Box::new(move |level, line| copy.lock().unwrap().push((level, line.to_owned())));
        let subscriber = tracing_subscriber::registry().with(MirrorLayer(mirror));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(service = "etcd", tries = 3, "it does {}", "not start");
        });
        let expected = (Level::WARN, "it does not start service=\"etcd\" tries=3".to_owned());
        assert_eq!(*seen.lock().unwrap(), [expected]);
    }
}
