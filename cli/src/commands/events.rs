//! `events`: what happens on machines.

use std::cell::RefCell;
use std::time::Duration;

use clap::Args;
use corten_api::machine::{Event, EventsRequest};

use crate::command::Command;
use crate::context::Cx;
use crate::event::describe;
use crate::failure::Failure;
use crate::pernode::PerNode;
use crate::stream::printed;
use crate::table::Widths;
use crate::units;

/// Print what happens on machines while it happens.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten events --tail -1
  corten events --duration 10m")]
pub struct Events {
    /// Begin with this many past events; -1 means all.
    #[arg(long, default_value_t = 0, value_name = "COUNT", allow_negative_numbers = true)]
    tail: i32,
    /// Begin with the events of this long ago.
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION", conflicts_with_all = ["tail", "since"])]
    duration: Option<Duration>,
    /// Begin after the event with this id.
    #[arg(long, value_name = "ID", conflicts_with = "tail")]
    since: Option<String>,
    /// Only events of the action with this actor id.
    #[arg(long, value_name = "ID")]
    actor_id: Option<String>,
}

/// Room for an id, so that the lines to come stand under the headings.
const ID_WIDTH: usize = 20;
/// Room for the longest usual type.
const KIND_WIDTH: usize = "machine.MachineStatusEvent".len();

const HEADINGS: [&str; 6] = ["NODE", "ID", "EVENT", "ACTOR", "SOURCE", "MESSAGE"];

/// The event as a line; nothing for the empty one that begins a stream.
fn row(node: &str, event: &Event) -> Option<Vec<String>> {
    let described = describe(event)?;
    let (id, actor) = (event.id.clone(), event.actor_id.clone());
    Some(vec![node.to_owned(), id, described.kind, actor, described.source, described.message])
}

impl Command for Events {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let seconds = self.duration.map(|duration| duration.as_secs().max(1)).unwrap_or_default();
        let request = EventsRequest {
            tail_events: self.tail,
            tail_id: self.since.unwrap_or_default(),
            tail_seconds: i32::try_from(seconds).unwrap_or(i32::MAX),
            with_actor_id: self.actor_id.unwrap_or_default(),
        };
        let widths = RefCell::new(Widths::default());
        let line = |cells: Vec<String>| {
            let mut widths = widths.borrow_mut();
            widths.grow(std::slice::from_ref(&cells));
            widths.line(&cells)
        };
        let targets = cx.targets()?;
        let longest =
            targets.0.iter().map(|node| node.name.clone()).max_by_key(String::len).unwrap_or_default();
        widths.borrow_mut().grow(&[vec![longest, " ".repeat(ID_WIDTH), " ".repeat(KIND_WIDTH)]]);
        cx.print(line(HEADINGS.map(str::to_owned).into()))?;
        let (line, request) = (&line, &request);
        let ask = |node: crate::connect::Node| async move {
            let mut stream = node.client.machine().events(request.clone()).await?.into_inner();
            while let Some(event) = stream.message().await? {
                if let Some(cells) = row(&node.name, &event) {
                    printed(cx.print(line(cells)))?;
                }
            }
            Ok(())
        };
        Ok(targets.each("follow the events of", ask).await)
    }
}

#[cfg(test)]
mod tests {
    use corten_api::machine::PhaseEvent;

    use super::*;
    use crate::event::tests::event;
    use crate::table::align;

    #[test]
    fn table() {
        let phase = event("machine.PhaseEvent", &PhaseEvent { phase: "stopServices".into(), action: 0 });
        let rows = [HEADINGS.map(str::to_owned).into(), row("10.5.0.2", &phase).expect("a row")];
        crate::snapshot::check("events", &align(&rows));
        assert_eq!(row("n", &Event::default()), None);
    }
}
