//! The machine's own programs follow resources that machined serves on a unix socket.
//!
//! machined may restart at any time: the last known resources stay, the watch is taken up again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corten_api::cosi::resource::{Event, EventType, WatchOptions, WatchRequest};
use corten_base::{Backoff, Rng, Task, spawn};
use corten_resource::Spec;
use corten_resource::proto::{self, DecodeError};
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::Status;

use crate::Client;

/// The version of the watch protocol that tells when everything has been sent.
const API_VERSION: i32 = 1;
/// Most resources of a type that are kept.
const RESOURCES_MAX: usize = 4096;

/// Resources of one type, by id; `None` until the first complete answer.
#[derive(Debug)]
pub struct Followed<S> {
    /// Changes whenever a resource does.
    pub resources: watch::Receiver<Option<Arc<BTreeMap<String, S>>>>,
    _task: Task,
}

/// Follows all resources of type `S` in its namespace for as long as the result lives. A connection costs both ends some
/// 40 KiB: whoever follows several types has one client for them.
#[must_use]
pub fn follow<S: Spec>(client: &Client) -> Followed<S> {
    let (sender, resources) = watch::channel(None);
    let client = client.clone();
    let task = spawn("follow", async move {
        let rng = Rng::kernel();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            if let Err(error) = once(&client, &sender, &mut backoff).await {
                let kind = S::DEFINITION.kind;
                tracing::debug!(kind, error = corten_base::chain(&error), "the watch ended");
            }
            sleep(backoff.next_delay(&rng)).await;
        }
    });
    Followed { resources, _task: task }
}

type Sender<S> = watch::Sender<Option<Arc<BTreeMap<String, S>>>>;

/// One watch until it breaks.
async fn once<S: Spec>(client: &Client, sender: &Sender<S>, backoff: &mut Backoff) -> Result<(), Status> {
    let request = WatchRequest {
        namespace: S::DEFINITION.namespace.to_owned(),
        r#type: S::DEFINITION.kind.to_owned(),
        id: None,
        options: Some(WatchOptions { bootstrap_contents: true, ..WatchOptions::default() }),
        api_version: API_VERSION,
    };
    let mut stream = client.state().watch(request).await?.into_inner();
    let mut known = Known::<S>::default();
    while let Some(response) = stream.message().await? {
        let mut changed = false;
        for event in response.event {
            changed |= known.apply(event)?;
        }
        if changed && known.complete {
            backoff.reset();
            sender.send_replace(Some(Arc::new(known.resources.clone())));
        }
    }
    Ok(())
}

struct Known<S> {
    resources: BTreeMap<String, S>,
    complete: bool,
}

impl<S> Default for Known<S> {
    fn default() -> Self {
        Self { resources: BTreeMap::new(), complete: false }
    }
}

impl<S: Spec> Known<S> {
    /// Whether anything changed.
    fn apply(&mut self, event: Event) -> Result<bool, Status> {
        let kind = event.event_type();
        let resource = event.resource.unwrap_or_default();
        let id = resource.metadata.unwrap_or_default().id;
        match kind {
            EventType::Created | EventType::Updated => {
                if self.resources.len() >= RESOURCES_MAX && !self.resources.contains_key(&id) {
                    return Err(Status::resource_exhausted("more resources than can be followed"));
                }
                let spec = decode(&resource.spec.unwrap_or_default().proto_spec)
                    .map_err(|error| Status::internal(format!("{id}: {}", corten_base::chain(&error))))?;
                self.resources.insert(id, spec);
            }
            EventType::Destroyed => {
                self.resources.remove(&id);
            }
            EventType::Bootstrapped => self.complete = true,
            EventType::Errored => return Err(Status::internal(event.error.unwrap_or_default())),
            EventType::Noop => return Ok(false),
        }
        Ok(true)
    }
}

fn decode<S: Spec>(bytes: &[u8]) -> Result<S, DecodeError> {
    let mut spec = S::default();
    proto::decode(bytes, &mut spec)?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use corten_api::cosi::resource::{Metadata, Resource, Spec as WireSpec};
    use corten_resource::{Record, yaml};

    use super::*;

    /// A type of this test.
    #[derive(Clone, Debug, Default, PartialEq, corten_resource::Resource)]
    #[resource(kind = "Samples.corten.dev", namespace = "runtime")]
    struct Sample {
        /// The value.
        #[field(1, "value")]
        value: String,
    }

    fn event(kind: EventType, id: &str, value: &str) -> Event {
        let sample = Sample { value: value.to_owned() };
        let spec = WireSpec {
            proto_spec: proto::encode(&sample as &dyn Record, yaml::Style::Mapping).into(),
            yaml_spec: String::new(),
        };
        let metadata = Metadata { id: id.to_owned(), ..Metadata::default() };
        let resource = Some(Resource { metadata: Some(metadata), spec: Some(spec) });
        Event { resource, event_type: kind.into(), ..Event::default() }
    }

    #[test]
    fn events_add_up_to_the_set() {
        let mut known = Known::<Sample>::default();
        for (kind, id, value) in [
            (EventType::Created, "a", "1"),
            (EventType::Created, "b", "2"),
            (EventType::Bootstrapped, "", ""),
            (EventType::Updated, "a", "3"),
            (EventType::Destroyed, "b", ""),
        ] {
            assert!(known.apply(event(kind, id, value)).expect("applies"));
        }
        assert!(known.complete);
        assert_eq!(known.resources, [("a".to_owned(), Sample { value: "3".to_owned() })].into());
        assert!(!known.apply(event(EventType::Noop, "", "")).expect("applies"));
        assert!(known.apply(event(EventType::Errored, "", "")).is_err());
    }

    #[test]
    fn a_broken_specification_ends_the_watch() {
        let mut broken = event(EventType::Created, "a", "1");
        broken.resource.as_mut().and_then(|resource| resource.spec.as_mut()).expect("spec").proto_spec =
            vec![0xff].into();
        assert_eq!(
            Known::<Sample>::default().apply(broken).expect_err("refused").code(),
            tonic::Code::Internal
        );
    }
}
