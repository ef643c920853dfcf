//! The machine's events as the sender to its manager reads them.

use corten_controllers_siderolink::{Event, EventLog};

use crate::api::events::TYPE_PREFIX;
use crate::events::{Events, Tail};

impl EventLog for Events {
    async fn after(&self, id: Option<&str>) -> Event {
        let tail = id.map_or(Tail::Everything, |id| Tail::AfterId(id.to_owned()));
        loop {
            // A reader that the ring has passed begins again with the oldest event that is kept.
            if let Ok(event) = self.subscribe(&tail, None).next().await {
                return Event {
                    id: event.id,
                    actor_id: event.actor,
                    type_url: format!("{TYPE_PREFIX}{}", event.message),
                    payload: event.payload,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_api::machine::{PhaseEvent, phase_event};
    use corten_base::{Clock, Rng};

    use super::*;

    #[tokio::test]
    async fn every_event_comes_once_in_order_and_as_clients_know_it() {
        let events = Events::new(Clock::fixed(1_700_000_000), &Rng::seeded(1));
        for phase in ["meta", "config"] {
            let event = PhaseEvent { phase: phase.into(), action: phase_event::Action::Start.into() };
            events.publish("me", &event);
        }
        let first = events.after(None).await;
        assert_eq!(first.type_url, "talos/runtime/machine.PhaseEvent");
        assert_eq!(first.actor_id, "me");
        let second = events.after(Some(&first.id)).await;
        assert!(second.id > first.id && second.payload != first.payload);
        let nothing = tokio::time::timeout(std::time::Duration::ZERO, events.after(Some(&second.id))).await;
        assert!(nothing.is_err(), "it waits for the next one");
        let oldest_kept = events.after(Some("")).await;
        assert_eq!(oldest_kept, first, "an id that is not kept any more");
    }
}
