//! The event stream as clients see it.

use corten_api::machine::{self, EventsRequest};
use prost_types::Any;
use tonic::Status;

use super::stream::Sender;
use crate::events::{Event, Events, Tail};

/// Prefix of event types; clients drop events with another one without a word.
pub const TYPE_PREFIX: &str = "talos/runtime/";

/// Where the request wants to begin.
///
/// # Errors
/// When it names more than one beginning.
fn tail(request: &EventsRequest) -> Result<Tail, Status> {
    let by_id = (!request.tail_id.is_empty()).then(|| Tail::AfterId(request.tail_id.clone()));
    let by_time = u64::try_from(request.tail_seconds).ok().filter(|seconds| *seconds > 0).map(Tail::Seconds);
    let by_count = match request.tail_events {
        0 => None,
        count => Some(usize::try_from(count).map_or(Tail::Everything, Tail::Last)),
    };
    let mut given = [by_id, by_time, by_count].into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => Ok(Tail::Nothing),
        (Some(tail), None) => Ok(tail),
        (Some(_), Some(_)) => {
            Err(Status::invalid_argument("only one of tail_events, tail_id and tail_seconds may be given"))
        }
    }
}

/// Sends events until the client leaves or is overrun.
///
/// # Errors
/// On a wrong request, or when the client was too slow.
pub async fn send(
    sender: Sender<machine::Event>,
    events: Events,
    request: EventsRequest,
) -> Result<(), Status> {
    let actor = Some(request.with_actor_id.clone()).filter(|actor| !actor.is_empty());
    let mut subscription = events.subscribe(&tail(&request)?, actor);
    // The first message is empty: talosctl waits for it before it goes on.
    let mut message = machine::Event::default();
    while sender.send(Ok(message)).await.is_ok() {
        message =
            to_wire(subscription.next().await.map_err(|overrun| Status::data_loss(overrun.to_string()))?);
    }
    Ok(())
}

fn to_wire(event: Event) -> machine::Event {
    machine::Event {
        metadata: None,
        data: Some(Any { type_url: format!("{TYPE_PREFIX}{}", event.message), value: event.payload }),
        id: event.id,
        actor_id: event.actor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_beginning() {
        assert_eq!(tail(&EventsRequest::default()).expect("none"), Tail::Nothing);
        let all = EventsRequest { tail_events: -1, ..EventsRequest::default() };
        assert_eq!(tail(&all).expect("all"), Tail::Everything);
        let two = EventsRequest { tail_events: 2, tail_seconds: 3, ..EventsRequest::default() };
        assert_eq!(tail(&two).expect_err("two beginnings").code(), tonic::Code::InvalidArgument);
    }
}
