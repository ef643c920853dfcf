//! One bundle, from its first question to its last byte.
//!
//! ```text
//! sources ──(so many at a time)──▶ events ─▶ Writing ─┬▶ redact, compress (off the event loop) ─▶ Archive
//!                                                    ├▶ progress for the client
//!                                                    └▶ Manifest, the last file ─▶ the bundle, one message
//! ```

use std::sync::Arc;
use std::time::Duration;

use corten_api::MESSAGE_BYTES_MAX;
use corten_api::management::GetSupportBundleResponse;
use corten_api::management::get_support_bundle_response::Progress;
use corten_base::{Clock, Lane, chain};
use corten_bundle::{Archive, Known, Packed};
use corten_fleet_api::management::MachineLogs;
use corten_resource::State;
use futures::future::join_all;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tonic::Status;

use crate::reach::Reach;
use crate::report::{Event, Manifest, Reporter, Told, problem, step};
use crate::{kubernetes, machine, resources, secrets};

/// How long all questions together may take.
const TIME_MAX: Duration = Duration::from_secs(240);
/// How long the search of the store, or the work on one part, may take.
const WORK_MAX: Duration = Duration::from_secs(60);
/// Machines that are asked at a time.
const MACHINES_MAX: usize = 8;
/// Events that wait; each may have a part.
const EVENTS_MAX: usize = 8;
/// Room for the manifest.
const MANIFEST_BYTES: usize = 1 << 20;
/// Largest bundle without it. Clients take all of it as one message.
const BUNDLE_BYTES: usize = MESSAGE_BYTES_MAX - 2 * MANIFEST_BYTES;
/// Bytes of all parts before they are compressed.
const PARTS_BYTES: usize = 192 << 20;
/// Parts of a machine that are as large as a part may be; most are much smaller.
const LARGE_PARTS: usize = 16;
/// Largest and smallest bound of a part.
const PART_BYTES: (usize, usize) = (64 << 10, 2 << 20);

/// What is collected, and from where.
pub(crate) struct Collection {
    pub(crate) cluster: String,
    pub(crate) state: State,
    pub(crate) logs: Arc<dyn MachineLogs>,
    pub(crate) reach: Arc<dyn Reach>,
    pub(crate) clock: Clock,
    pub(crate) lane: Lane,
}

/// Where messages for the client go.
type Messages = mpsc::Sender<Result<GetSupportBundleResponse, Status>>;

/// How large a part may be in a bundle of so many machines.
fn part_bytes(machines: usize) -> usize {
    (PARTS_BYTES / LARGE_PARTS / machines.max(1)).clamp(PART_BYTES.0, PART_BYTES.1)
}

impl Collection {
    /// Collects, and sends everything.
    pub(crate) async fn run(self, messages: Messages) {
        let state = self.state.clone();
        let known = match self.lane.run(WORK_MAX, move || secrets::known(&state)).await {
            Ok(known) => Arc::new(known),
            Err(error) => {
                // Nothing is sent that was not redacted.
                let text = format!("the bundle cannot be redacted: {}", chain(&error));
                let _ = messages.send(Err(Status::unavailable(text))).await;
                return;
            }
        };
        let now = self.clock.now();
        let writing = Writing {
            lane: self.lane.clone(),
            known,
            archive: Archive::new(BUNDLE_BYTES, now),
            manifest: Manifest::new(&self.cluster, corten_resource::yaml::time(now)),
            messages,
        };
        let (events, told) = mpsc::channel(EVENTS_MAX);
        tokio::join!(self.ask(events), writing.run(told));
    }

    /// Asks all sources.
    async fn ask(&self, events: mpsc::Sender<Event>) {
        let until = Instant::now() + TIME_MAX;
        let machines = resources::machines(&self.state, &self.cluster);
        let bytes_max = part_bytes(machines.len());
        let places = Semaphore::new(MACHINES_MAX);
        let own = self.own(&machines, bytes_max, &events);
        let kubernetes = async {
            let reporter = Reporter::new(kubernetes::SOURCE, kubernetes::STEPS_COUNT, events.clone());
            let client = self.reach.kubernetes(&self.cluster);
            kubernetes::collect(client, bytes_max, until, &reporter).await;
        };
        let machine = |id: &'_ String| self.machine(id.clone(), bytes_max, until, &places, &events);
        let machines = join_all(machines.iter().map(machine));
        tokio::join!(own, kubernetes, machines);
    }

    /// The manager's own resources.
    async fn own(&self, machines: &[String], bytes_max: usize, events: &mpsc::Sender<Event>) {
        let reporter = Reporter::new(resources::SOURCE, 1, events.clone());
        let (state, cluster, machines) = (self.state.clone(), self.cluster.clone(), machines.to_vec());
        let search = move || resources::collect(&state, &cluster, &machines, bytes_max);
        match self.lane.run(WORK_MAX, search).await {
            Ok(found) => {
                for (name, bytes) in found.files {
                    reporter.part(name, bytes).await;
                }
                for (kind, why) in found.left {
                    reporter.problem(kind, why).await;
                }
            }
            Err(error) => reporter.problem("all resources", chain(&error)).await,
        }
        reporter.step("resources").await;
    }

    async fn machine(
        &self,
        id: String,
        bytes_max: usize,
        until: Instant,
        places: &Semaphore,
        events: &mpsc::Sender<Event>,
    ) {
        let _place = places.acquire().await;
        let reporter = Reporter::new(&id, machine::STEPS_COUNT, events.clone());
        let wish =
            machine::Wish { cluster: &self.cluster, machine: &id, bytes_max, until, clock: &self.clock };
        machine::collect(wish, self.logs.as_ref(), self.reach.as_ref(), &reporter).await;
    }
}

/// A bundle that is written.
struct Writing {
    lane: Lane,
    known: Arc<Known>,
    archive: Archive,
    manifest: Manifest,
    messages: Messages,
}

impl Writing {
    /// Takes in what sources tell until all of them have ended, and sends the bundle.
    async fn run(mut self, mut told: mpsc::Receiver<Event>) {
        while let Some(Event { source, told }) = told.recv().await {
            match told {
                Told::Part { name, bytes } => {
                    if let Err(why) = self.add(&name, bytes).await {
                        self.miss(source, name, why).await;
                    }
                }
                Told::Problem { what, why } => self.miss(source, what, why).await,
                Told::Step { what, done, total } => self.tell(step(source, what, done, total)).await,
            }
        }
        self.finish().await;
    }

    /// Redacts, compresses and adds a part.
    async fn add(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        let known = Arc::clone(&self.known);
        let pack = move || {
            let redacted = known.redact(&bytes);
            Packed::of(&redacted).map(|packed| (packed, redacted.len()))
        };
        let packed = self.lane.run(WORK_MAX, pack).await.map_err(|error| chain(&error))?;
        let (packed, size) = packed.map_err(|error| chain(&error))?;
        // Names have ids of machines and services in them, which are theirs to choose.
        let name = String::from_utf8_lossy(&self.known.redact(name.as_bytes())).into_owned();
        if !self.archive.add(&name, &packed) {
            return Err(format!("the bundle would be larger than {BUNDLE_BYTES} bytes"));
        }
        self.manifest.part(size);
        Ok(())
    }

    /// Notes what is missing, and tells it.
    async fn miss(&mut self, source: String, what: String, why: String) {
        let why = String::from_utf8_lossy(&self.known.redact(why.as_bytes())).trim_end().to_owned();
        self.manifest.problem(&source, &what, &why);
        let error = format!("{what}: {why}");
        self.tell(problem(source, what, error)).await;
    }

    async fn tell(&self, progress: Progress) {
        let message =
            GetSupportBundleResponse { progress: Some(progress), ..GetSupportBundleResponse::default() };
        // A client that is gone ends all of this with its stream.
        let _ = self.messages.send(Ok(message)).await;
    }

    async fn finish(self) {
        let Self { lane, known, mut archive, manifest, messages } = self;
        archive.widen(MANIFEST_BYTES);
        let pack = move || {
            let text = known.redact(manifest.text().as_bytes());
            let packed = Packed::of(&text).map_err(|error| chain(&error))?;
            if archive.add("manifest.yaml", &packed) {
                Ok(archive.finish())
            } else {
                Err("its manifest is too large".to_owned())
            }
        };
        let packed = lane.run(WORK_MAX, pack).await.map_err(|error| chain(&error)).flatten();
        let message = packed.map(|bundle| GetSupportBundleResponse {
            bundle_data: bundle.into(),
            ..GetSupportBundleResponse::default()
        });
        let message = message.map_err(|why| Status::internal(format!("the bundle cannot be written: {why}")));
        let _ = messages.send(message).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_machines_have_smaller_parts() {
        assert_eq!(part_bytes(0), PART_BYTES.1);
        assert_eq!(part_bytes(3), PART_BYTES.1);
        assert_eq!(part_bytes(24), 512 << 10);
        assert_eq!(part_bytes(10_000), PART_BYTES.0);
    }
}
