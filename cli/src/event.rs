//! Runtime events in words.

use corten_api::machine::{
    AddressEvent, ConfigLoadErrorEvent, ConfigValidationErrorEvent, Event, MachineStatusEvent, PhaseEvent,
    RestartEvent, SequenceEvent, ServiceStateEvent, TaskEvent, machine_status_event, phase_event,
    sequence_event, service_state_event, task_event,
};
use prost::Message;

/// In front of the type names of events.
const TYPE_PREFIX: &str = "talos/runtime/";

/// An event as tables show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// Type without its prefix.
    pub kind: String,
    /// What it is about.
    pub source: String,
    /// What happened.
    pub message: String,
}

/// The event's content if it is of this type.
pub fn content<M: Message + Default>(event: &Event, name: &str) -> Option<M> {
    let data = event.data.as_ref()?;
    (data.type_url.strip_prefix(TYPE_PREFIX)? == name).then(|| M::decode(data.value.as_slice()).ok())?
}

/// The event in words; nothing for the empty one that begins a stream.
pub fn describe(event: &Event) -> Option<Described> {
    let data = event.data.as_ref()?;
    let kind = data.type_url.strip_prefix(TYPE_PREFIX).unwrap_or(&data.type_url);
    let (source, message) = words(event, kind).unwrap_or_default();
    Some(Described { kind: kind.to_owned(), source, message })
}

fn words(event: &Event, kind: &str) -> Option<(String, String)> {
    let action = |name: &str| format!("action: {name}");
    Some(match kind {
        "machine.SequenceEvent" => {
            let e: SequenceEvent = content(event, kind)?;
            let failed =
                e.error.as_ref().map(|error| format!(", error: {}", error.message)).unwrap_or_default();
            let done = sequence_event::Action::try_from(e.action).ok()?;
            (e.sequence, action(done.as_str_name()) + &failed)
        }
        "machine.PhaseEvent" => {
            let e: PhaseEvent = content(event, kind)?;
            (e.phase, action(phase_event::Action::try_from(e.action).ok()?.as_str_name()))
        }
        "machine.TaskEvent" => {
            let e: TaskEvent = content(event, kind)?;
            (e.task, action(task_event::Action::try_from(e.action).ok()?.as_str_name()))
        }
        "machine.ServiceStateEvent" => {
            let e: ServiceStateEvent = content(event, kind)?;
            let state = service_state_event::Action::try_from(e.action).ok()?;
            (e.service, format!("{}: {}", state.as_str_name(), e.message))
        }
        "machine.MachineStatusEvent" => {
            let e: MachineStatusEvent = content(event, kind)?;
            (String::new(), status(&e))
        }
        "machine.AddressEvent" => {
            let e: AddressEvent = content(event, kind)?;
            (e.hostname, format!("ADDRESSES: {}", e.addresses.join(",")))
        }
        "machine.RestartEvent" => {
            let e: RestartEvent = content(event, kind)?;
            (String::new(), format!("command {}", e.cmd))
        }
        "machine.ConfigLoadErrorEvent" => {
            (String::new(), content::<ConfigLoadErrorEvent>(event, kind)?.error)
        }
        "machine.ConfigValidationErrorEvent" => {
            (String::new(), content::<ConfigValidationErrorEvent>(event, kind)?.error)
        }
        _ => return None,
    })
}

fn status(event: &MachineStatusEvent) -> String {
    let stage = machine_status_event::MachineStage::try_from(event.stage);
    let stage = stage.map_or("?", |stage| stage.as_str_name());
    let status = event.status.clone().unwrap_or_default();
    let unmet: Vec<_> = status.unmet_conditions.iter().map(|c| format!("{}: {}", c.name, c.reason)).collect();
    let unmet =
        if unmet.is_empty() { String::new() } else { format!(", unmet conditions: [{}]", unmet.join(", ")) };
    format!("stage: {stage} ready: {}{unmet}", status.ready)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn event(name: &str, content: &impl Message) -> Event {
        let data =
            prost_types::Any { type_url: format!("{TYPE_PREFIX}{name}"), value: content.encode_to_vec() };
        Event { data: Some(data), id: "c8p1".into(), actor_id: "actor".into(), metadata: None }
    }

    #[test]
    fn events_are_told_in_words() {
        let check = |event: Event, source: &str, message: &str| {
            let described = describe(&event).expect("described");
            assert_eq!((described.source.as_str(), described.message.as_str()), (source, message));
        };
        check(
            event("machine.PhaseEvent", &PhaseEvent { phase: "cleanup".into(), action: 1 }),
            "cleanup",
            "action: STOP",
        );
        let error = corten_api::common::Error { message: "no".into(), ..Default::default() };
        let failed = SequenceEvent { sequence: "reboot".into(), action: 2, error: Some(error) };
        check(event("machine.SequenceEvent", &failed), "reboot", "action: STOP, error: no");
        let running = MachineStatusEvent {
            stage: 4,
            status: Some(machine_status_event::MachineStatus { ready: true, unmet_conditions: vec![] }),
        };
        check(event("machine.MachineStatusEvent", &running), "", "stage: RUNNING ready: true");
        check(event("machine.NewEvent", &PhaseEvent::default()), "", "");
        assert_eq!(describe(&Event::default()), None);
    }
}
