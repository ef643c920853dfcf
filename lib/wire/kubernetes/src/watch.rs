//! Following a resource for ever.
//!
//! ```text
//! Listing ──list──▶ Watching(version) ──events──▶ Watching(newer version)
//!    ▲                   │ stream ended: watch again from the last version
//!    └── 410 Expired ────┘ failure: report it, wait, watch again
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use corten_base::{Backoff, Rng};
use futures::{Stream, StreamExt};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::Object;
use crate::api::{Api, ListOptions, encode};
use crate::client::{CALL, collect, refused, transport};
use crate::error::{Error, ServerStatus};
use crate::frames::{Frame, Frames};
use crate::object;

/// The server ends a watch after this many seconds, so that every one is renewed.
const RENEW: u64 = 290;
/// A watch that is silent for longer is broken: bookmarks come every minute, and its end after [`RENEW`].
const SILENCE: Duration = Duration::from_secs(330);

/// A change, or the whole state.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// All objects there are; whatever is not among them is gone.
    Listed(Vec<Object>),
    /// An object was made or changed.
    Applied(Object),
    /// An object was removed; this was its last state.
    Deleted(Object),
}

enum State {
    Listing,
    Watching { version: String, open: Option<Open> },
}

struct Open {
    body: Incoming,
    frames: Frames,
}

struct Watch {
    api: Api,
    options: ListOptions,
    state: State,
    ready: VecDeque<WatchEvent>,
    backoff: Backoff,
    rng: Rng,
    /// The last step failed; wait before the next.
    failed: bool,
}

/// See [`Api::watch`].
pub(crate) fn watch(
    api: Api,
    options: ListOptions,
) -> impl Stream<Item = Result<WatchEvent, Error>> + Send + Unpin {
    let watch = Watch {
        api,
        options,
        state: State::Listing,
        ready: VecDeque::new(),
        backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(30)),
        rng: Rng::kernel(),
        failed: false,
    };
    futures::stream::unfold(watch, |mut watch| async move {
        let item = watch.next().await;
        Some((item, watch))
    })
    .boxed()
}

impl Watch {
    async fn next(&mut self) -> Result<WatchEvent, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.backoff.reset();
                return Ok(event);
            }
            if std::mem::take(&mut self.failed) {
                tokio::time::sleep(self.backoff.next_delay(&self.rng)).await;
            }
            if let Err(error) = self.step().await {
                if error.is_expired() {
                    tracing::debug!(
                        resource = self.api.resource.plural,
                        "the server has forgotten our version"
                    );
                    self.state = State::Listing;
                    continue;
                }
                if let State::Watching { open, .. } = &mut self.state {
                    *open = None;
                }
                self.failed = true;
                return Err(error);
            }
        }
    }

    /// One exchange with the server; may yield no event.
    async fn step(&mut self) -> Result<(), Error> {
        match &mut self.state {
            State::Listing => {
                let list = self.api.list(&self.options).await?;
                self.ready.push_back(WatchEvent::Listed(list.items));
                self.state = State::Watching { version: list.resource_version, open: None };
                Ok(())
            }
            State::Watching { version, open } => {
                let Some(stream) = open else {
                    *open = Some(connect(&self.api, &self.options, version).await?);
                    return Ok(());
                };
                match stream.next().await? {
                    Some(frame) => {
                        if let Some(event) = accept(frame, version)? {
                            self.ready.push_back(event);
                        }
                    }
                    None => *open = None,
                }
                Ok(())
            }
        }
    }
}

async fn connect(api: &Api, options: &ListOptions, version: &str) -> Result<Open, Error> {
    let mut query = options.query();
    query.extend([
        ("watch", "true".to_owned()),
        ("allowWatchBookmarks", "true".to_owned()),
        ("resourceVersion", version.to_owned()),
        ("timeoutSeconds", RENEW.to_string()),
    ]);
    let path = format!("{}?{}", api.resource.path(api.namespace.as_deref()), encode(&query));
    let sent = tokio::time::timeout(CALL, api.client.send(Method::GET, &path, None)).await;
    let (status, body) = match sent {
        Ok(answer) => answer?,
        Err(_) => return Err(Error::Deadline { method: "GET".to_owned(), path, limit: CALL }),
    };
    if !status.is_success() {
        let text = collect(body, "GET", &path).await?;
        return Err(refused("GET", &path, status, &text));
    }
    Ok(Open { body, frames: Frames::default() })
}

impl Open {
    /// The next event, or `None` at the end of the stream.
    async fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some(frame) = self.frames.next()? {
                return Ok(Some(frame));
            }
            let frame = match tokio::time::timeout(SILENCE, self.body.frame()).await {
                Ok(Some(frame)) => frame.map_err(|error| transport("GET", "a watch", error))?,
                Ok(None) => return Ok(None),
                Err(_) => {
                    return Err(Error::Deadline {
                        method: "GET".to_owned(),
                        path: "a watch".to_owned(),
                        limit: SILENCE,
                    });
                }
            };
            if let Ok(data) = frame.into_data() {
                self.frames.push(&data);
            }
        }
    }
}

/// Remembers the version and tells what has changed, if anything has.
fn accept(frame: Frame, version: &mut String) -> Result<Option<WatchEvent>, Error> {
    if frame.kind == "ERROR" {
        let status = ServerStatus::from_object(&frame.object);
        return Err(Error::Refused { method: "GET".to_owned(), path: "a watch".to_owned(), status });
    }
    let newer = object::resource_version(&frame.object);
    if !newer.is_empty() {
        newer.clone_into(version);
    }
    Ok(match frame.kind.as_str() {
        "ADDED" | "MODIFIED" => Some(WatchEvent::Applied(frame.object)),
        "DELETED" => Some(WatchEvent::Deleted(frame.object)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: &str, version: &str) -> Frame {
        Frame { kind: kind.into(), object: serde_json::json!({"metadata": {"resourceVersion": version}}) }
    }

    #[test]
    fn bookmarks_move_the_version_without_an_event() {
        let mut version = "1".to_owned();
        assert!(accept(frame("BOOKMARK", "5"), &mut version).unwrap().is_none());
        assert_eq!(version, "5");
        assert!(matches!(accept(frame("DELETED", "6"), &mut version), Ok(Some(WatchEvent::Deleted(_)))));
        assert!(accept(frame("SOMETHING", "7"), &mut version).unwrap().is_none());
    }

    #[test]
    fn a_forgotten_version_is_told_apart_from_other_failures() {
        let gone =
            Frame { kind: "ERROR".into(), object: serde_json::json!({"code": 410, "reason": "Expired"}) };
        assert!(accept(gone, &mut String::new()).unwrap_err().is_expired());
        let other = Frame { kind: "ERROR".into(), object: serde_json::json!({}) };
        assert!(accept(other, &mut String::new()).unwrap_err().is_transient());
    }
}
