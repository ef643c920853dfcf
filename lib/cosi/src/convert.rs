//! Between the messages of the protocol and the types of the state. Everything that knows both is here.

use std::time::{SystemTime, UNIX_EPOCH};

use corten_api::cosi::resource as wire;
use corten_resource::{
    AnyResource, Bookmark, Change, ErrorKind, Event, LabelOp, LabelTerm, Metadata, Pointer, Query, Registry,
    Start, StateError, WatchOptions, parse_version, version_text,
};
use tonic::{Code, Status};
use wire::label_term::Operation;

/// Most terms of all label queries of a request together.
const TERMS_MAX: usize = 256;

/// A resource as a message, its specification in both encodings. A tombstone has an empty one: clients in Go refuse a
/// resource without any.
pub fn to_wire(resource: &AnyResource) -> wire::Resource {
    let metadata = resource.metadata();
    let spec = wire::Spec { proto_spec: resource.to_proto().into(), yaml_spec: resource.to_yaml() };
    wire::Resource {
        metadata: Some(wire::Metadata {
            namespace: metadata.namespace.clone(),
            r#type: metadata.kind.clone(),
            id: metadata.id.clone(),
            version: version_text(metadata.version),
            owner: metadata.owner.clone(),
            phase: metadata.phase.text().to_owned(),
            created: Some(metadata.created.into()),
            updated: Some(metadata.updated.into()),
            finalizers: metadata.finalizers.clone(),
            labels: metadata.labels.clone().into_iter().collect(),
            annotations: metadata.annotations.clone().into_iter().collect(),
        }),
        spec: Some(spec),
    }
}

fn invalid(error: impl std::fmt::Display) -> StateError {
    StateError::Invalid(error.to_string())
}

/// The resource in a message; without specification it is a tombstone.
pub fn from_wire(resource: Option<wire::Resource>, registry: &Registry) -> Result<AnyResource, StateError> {
    let wire::Resource { metadata, spec } = resource.ok_or_else(|| invalid("resource is missing"))?;
    let wire = metadata.ok_or_else(|| invalid("metadata is missing"))?;
    let time = |stamp: Option<prost_types::Timestamp>| {
        stamp.and_then(|stamp| SystemTime::try_from(stamp).ok()).unwrap_or(UNIX_EPOCH)
    };
    let metadata = Metadata {
        version: parse_version(&wire.version).map_err(invalid)?,
        phase: wire.phase.parse().map_err(invalid)?,
        owner: wire.owner,
        created: time(wire.created),
        updated: time(wire.updated),
        finalizers: wire.finalizers,
        labels: wire.labels.into_iter().collect(),
        annotations: wire.annotations.into_iter().collect(),
        ..Metadata::new(wire.namespace, wire.r#type, wire.id)
    };
    match spec {
        None => Ok(AnyResource::tombstone(&metadata.pointer()).edit(|tombstone| *tombstone = metadata)),
        Some(spec) => registry.decode(metadata, spec.proto_spec.to_vec(), spec.yaml_spec).map_err(invalid),
    }
}

const OPERATIONS: [(Operation, LabelOp); 8] = [
    (Operation::Exists, LabelOp::Exists),
    (Operation::Equal, LabelOp::Equal),
    (Operation::NotExists, LabelOp::NotExists),
    (Operation::In, LabelOp::In),
    (Operation::Lt, LabelOp::Less),
    (Operation::Lte, LabelOp::LessOrEqual),
    (Operation::LtNumeric, LabelOp::LessNumeric),
    (Operation::LteNumeric, LabelOp::LessOrEqualNumeric),
];

fn term_from_wire(term: wire::LabelTerm) -> Result<LabelTerm, StateError> {
    let row = OPERATIONS.iter().find(|(operation, _)| *operation as i32 == term.op);
    let (_, op) = row.ok_or_else(|| invalid(format!("unknown label operation {}", term.op)))?;
    Ok(LabelTerm { key: term.key, op: *op, values: term.value, invert: term.invert })
}

fn term_to_wire(term: &LabelTerm) -> wire::LabelTerm {
    let op = OPERATIONS.iter().find(|(_, op)| *op == term.op).map_or(0, |(operation, _)| *operation as i32);
    wire::LabelTerm { key: term.key.clone(), op, value: term.values.clone(), invert: term.invert }
}

/// Which resources a request means.
pub fn query_from_wire(
    labels: Vec<wire::LabelQuery>,
    id: Option<wire::IdQuery>,
) -> Result<Query, StateError> {
    if labels.iter().map(|query| query.terms.len()).sum::<usize>() > TERMS_MAX {
        return Err(invalid(format!("more than {TERMS_MAX} label terms")));
    }
    let set = |query: wire::LabelQuery| query.terms.into_iter().map(term_from_wire).collect();
    let query = Query::any_of(labels.into_iter().map(set).collect::<Result<_, _>>()?);
    match id.filter(|id| !id.regexp.is_empty()) {
        Some(id) => query.with_id(&id.regexp).map_err(invalid),
        None => Ok(query),
    }
}

/// Which resources a query means, for a request.
pub fn query_to_wire(query: &Query) -> (Vec<wire::LabelQuery>, Option<wire::IdQuery>) {
    let set = |terms: &Vec<LabelTerm>| wire::LabelQuery { terms: terms.iter().map(term_to_wire).collect() };
    let id = query.id_pattern().map(|pattern| wire::IdQuery { regexp: pattern.to_owned() });
    (query.labels.iter().map(set).collect(), id)
}

/// Where a watch starts; the default is the protocol's for the kind of watch.
pub fn start_from_wire(options: &wire::WatchOptions, default: Start) -> Result<Start, StateError> {
    let tail = usize::try_from(options.tail_events).unwrap_or(0);
    match (options.bootstrap_contents, tail, &options.start_from_bookmark) {
        (false, 0, None) => Ok(default),
        (true, 0, None) => Ok(Start::Contents),
        (false, 0, Some(bookmark)) => Ok(Start::Bookmark(Bookmark(bookmark.clone()))),
        (false, tail, None) => Ok(Start::Tail(tail)),
        _ => Err(invalid("a watch starts with its contents, with a tail or after a bookmark")),
    }
}

/// The options of a watch of a type.
pub fn options_from_wire(options: wire::WatchOptions) -> Result<WatchOptions, StateError> {
    Ok(WatchOptions {
        start: start_from_wire(&options, Start::Now)?,
        aggregated: options.aggregated,
        initial_bookmark: options.bootstrap_bookmark,
        query: query_from_wire(options.label_query, options.id_query)?,
    })
}

/// The options of a request.
pub fn options_to_wire(options: &WatchOptions) -> wire::WatchOptions {
    let (label_query, id_query) = query_to_wire(&options.query);
    wire::WatchOptions {
        label_query,
        id_query,
        aggregated: options.aggregated,
        bootstrap_bookmark: options.initial_bookmark,
        ..start_to_wire(&options.start)
    }
}

/// Where a watch starts, for a request; contents are the default of a watch by id.
pub fn start_to_wire(start: &Start) -> wire::WatchOptions {
    let mut options = wire::WatchOptions::default();
    match start {
        Start::Now => {}
        Start::Contents => options.bootstrap_contents = true,
        Start::Tail(count) => options.tail_events = i32::try_from(*count).unwrap_or(i32::MAX),
        Start::Bookmark(bookmark) => options.start_from_bookmark = Some(bookmark.0.clone()),
    }
    options
}

/// An event as a message, its resources encoded by `to_wire`; `None` when clients of this API version do not know its
/// type.
pub fn event_to_wire(
    event: &Event,
    kind: &Pointer,
    api_version: i32,
    to_wire: impl Fn(&AnyResource) -> wire::Resource,
) -> Option<wire::Event> {
    let nothing = || Some(to_wire(&AnyResource::tombstone(&Pointer::to_kind(&kind.namespace, &kind.kind))));
    let (event_type, resource, old, error) = match &event.change {
        Change::Created(resource) => (wire::EventType::Created, Some(to_wire(resource)), None, None),
        Change::Updated { new, old } => {
            (wire::EventType::Updated, Some(to_wire(new)), Some(to_wire(old)), None)
        }
        Change::Destroyed(resource) => (wire::EventType::Destroyed, Some(to_wire(resource)), None, None),
        Change::Bootstrapped | Change::Errored(_) if api_version < 1 => return None,
        Change::Bootstrapped => (wire::EventType::Bootstrapped, nothing(), None, None),
        Change::Errored(text) => (wire::EventType::Errored, None, None, Some(text.clone())),
        Change::Noop => (wire::EventType::Noop, nothing(), None, None),
    };
    let bookmark = event.bookmark.as_ref().map(|bookmark| bookmark.0.clone());
    Some(wire::Event { resource, event_type: event_type.into(), old, error, bookmark })
}

/// The event in a message.
pub fn event_from_wire(event: wire::Event, registry: &Registry) -> Result<Event, StateError> {
    let change = match event.event_type() {
        wire::EventType::Created => Change::Created(from_wire(event.resource, registry)?),
        wire::EventType::Updated => {
            let new = from_wire(event.resource, registry)?;
            let old = if event.old.is_some() { from_wire(event.old, registry)? } else { new.clone() };
            Change::Updated { new, old }
        }
        wire::EventType::Destroyed => Change::Destroyed(from_wire(event.resource.map(gone), registry)?),
        wire::EventType::Bootstrapped => Change::Bootstrapped,
        wire::EventType::Errored => Change::Errored(event.error.unwrap_or_default()),
        wire::EventType::Noop => Change::Noop,
    };
    Ok(Event { change, bookmark: event.bookmark.map(Bookmark) })
}

/// What is destroyed as it is told: what never was, as its version says, has no specification.
fn gone(resource: wire::Resource) -> wire::Resource {
    let never_was =
        resource.metadata.as_ref().is_some_and(|metadata| parse_version(&metadata.version) == Ok(0));
    wire::Resource { spec: resource.spec.filter(|_| !never_was), ..resource }
}

/// A refusal as clients expect it.
pub fn to_status(error: StateError) -> Status {
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::Unimplemented => Code::Unimplemented,
        ErrorKind::Unavailable => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// Clients and other machines send resources of every type; none of them is believed.
    #[test]
    fn any_specification_of_any_type_is_decoded_or_refused() {
        let registry = corten_resources::registry();
        let kinds: Vec<&str> = registry.types().map(|kind| kind.definition.kind).collect();
        bolero::check!().with_type::<(u16, Vec<u8>, String)>().for_each(|(which, proto, yaml)| {
            let kind = kinds[usize::from(*which) % kinds.len()];
            let metadata = Metadata::new("fuzz", kind, "id");
            if let Ok(resource) = registry.decode(metadata.clone(), proto.clone(), yaml.clone()) {
                let _ = (resource.to_proto(), resource.to_yaml());
            }
            let _ = registry.decode_yaml(metadata, yaml);
        });
    }

    #[test]
    fn any_message_is_a_request_or_refused() {
        let registry = corten_resources::registry();
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(resource) = wire::Resource::decode(bytes) {
                let _ = from_wire(Some(resource), &registry);
            }
            if let Ok(options) = wire::WatchOptions::decode(bytes) {
                let _ = options_from_wire(options);
            }
            if let Ok(event) = wire::Event::decode(bytes) {
                let _ = event_from_wire(event, &registry);
            }
        });
    }
}
