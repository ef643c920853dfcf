//! What one machine tells of itself, over its own API, as files.
//!
//! ```text
//! Client ─▶ version, kernel log, services and their logs, tables, pods' logs, resources, etcd, graph ─▶ Sink
//!       └─▶ what no resource tells ─────────────────────────────────────────────────▶ vitals.yaml ──┘
//! ```
//!
//! Each question has a deadline. A machine that is away costs one problem, and one that stops answering is not asked
//! further. What only administrators read is asked for, and told without its specification; who may not read it gets the
//! rest.

use std::future::Future;
use std::time::Duration;

use corten_api::common::Data;
use corten_base::Clock;
use corten_client::Client;
use corten_diagnose::{CertificateFact, Vitals};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Response, Status, Streaming};

use crate::lines::Tail;

mod containers;
mod etcd;
mod resources;
mod services;
mod tables;
mod vitals;

pub use vitals::fact as certificate;

/// What a machine is asked for, in this order.
pub const STEPS: [&str; 8] =
    ["version", "services", "kernel log", "vitals", "resources", "tables", "pods", "controllers"];
/// Name of the file that diagnoses are made from.
pub const VITALS: &str = "vitals.yaml";
/// Folder of logs and states of services.
pub const SERVICES: &str = "service-logs";
/// Folder of resources.
pub const RESOURCES: &str = "resources";
/// The kernel's log.
pub const KERNEL_LOG: &str = "dmesg.log";
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Answers that may fail to come until a machine is not asked any more.
const MISSES_MAX: u32 = 2;
/// Lines of a log that are asked for.
const LINES: u16 = 5000;

/// Where files, problems and progress of a machine go.
pub trait Sink: Sync {
    /// Takes a file; the name begins with the machine's folder.
    fn part(&self, name: String, bytes: Vec<u8>) -> impl Future<Output = ()> + Send;

    /// Takes what is missing, and why.
    fn problem(&self, what: &str, why: String) -> impl Future<Output = ()> + Send;

    /// One of [`STEPS`] is done.
    fn step(&self, what: &str) -> impl Future<Output = ()> + Send;
}

/// How much is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What diagnoses are made from.
    Diagnosis,
    /// All that may help, without anything of types that hold secrets.
    Public,
    /// That, and of types that hold secrets which resources there are.
    Everything,
}

/// What is wanted of a machine.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// How it is named to people.
    pub machine: &'a str,
    /// The folder for its files.
    pub folder: String,
    /// Largest file.
    pub bytes_max: usize,
    /// When all of it is to be over.
    pub until: Instant,
    /// How much.
    pub scope: Scope,
    /// The clock of who asks.
    pub clock: &'a Clock,
    /// Certificates that who asks knows of, such as its own.
    pub certificates: Vec<CertificateFact>,
}

/// Asks a machine.
pub async fn collect<S: Sink>(wish: Wish<'_>, client: Client, sink: &S) {
    let vitals = Vitals {
        machine: wish.machine.to_owned(),
        asked: Some(wish.clock.now()),
        certificates: wish.certificates.clone(),
        ..Vitals::default()
    };
    let everything = wish.scope != Scope::Diagnosis;
    let mut inquiry = Inquiry { wish, client, sink, misses: 0, vitals };
    let [version, services, kernel, vitals, resources, tables, pods, controllers] = STEPS;
    inquiry.version().await;
    sink.step(version).await;
    inquiry.services().await;
    sink.step(services).await;
    inquiry.kernel_log().await;
    sink.step(kernel).await;
    inquiry.vitals().await;
    sink.step(vitals).await;
    inquiry.resources().await;
    sink.step(resources).await;
    if everything {
        inquiry.tables().await;
    }
    sink.step(tables).await;
    if everything {
        inquiry.pods().await;
    }
    sink.step(pods).await;
    if everything {
        inquiry.controllers().await;
    }
    sink.step(controllers).await;
    let text = inquiry.vitals.to_yaml();
    inquiry.part(VITALS, text.into_bytes()).await;
}

/// The files of a machine that could not be asked at all.
pub async fn silent<S: Sink>(wish: Wish<'_>, why: &str, sink: &S) {
    let vitals = Vitals {
        machine: wish.machine.to_owned(),
        asked: Some(wish.clock.now()),
        silence: why.to_owned(),
        certificates: wish.certificates.clone(),
        ..Vitals::default()
    };
    sink.part(format!("{}/{VITALS}", wish.folder), vitals.to_yaml().into_bytes()).await;
}

/// A machine that is asked.
struct Inquiry<'a, S> {
    wish: Wish<'a>,
    client: Client,
    sink: &'a S,
    /// Answers that did not come, one after another.
    misses: u32,
    /// What is known so far of what no resource tells.
    vitals: Vitals,
}

impl<S: Sink> Inquiry<'_, S> {
    /// The answer to a question. Why there is none is told.
    async fn ask<T>(
        &mut self,
        what: &str,
        question: impl Future<Output = Result<T, Status>> + Send,
    ) -> Option<T> {
        match self.try_ask(question).await? {
            Ok(answer) => Some(answer),
            Err(why) => {
                self.sink.problem(what, why).await;
                if self.misses >= MISSES_MAX {
                    let rest = "the machine answers no more, and is asked no more".to_owned();
                    self.sink.problem("the rest", rest).await;
                }
                None
            }
        }
    }

    /// The answer to a question, or why there is none; nothing when the machine is not asked any more. A machine that
    /// has not answered anything yet is silent for this reason.
    async fn try_ask<T>(
        &mut self,
        question: impl Future<Output = Result<T, Status>> + Send,
    ) -> Option<Result<T, String>> {
        if self.misses >= MISSES_MAX {
            return None;
        }
        let deadline = self.wish.until.min(Instant::now() + ANSWER_MAX);
        let (why, is_miss) = match timeout_at(deadline, question).await {
            Ok(Ok(answer)) => {
                self.misses = 0;
                self.vitals.silence.clear();
                return Some(Ok(answer));
            }
            Ok(Err(status)) => (words(&status), is_miss(&status)),
            Err(_) => (format!("no answer within {} s", ANSWER_MAX.as_secs()), true),
        };
        self.misses = if is_miss { self.misses + 1 } else { 0 };
        if self.misses >= MISSES_MAX {
            self.vitals.silence.clone_from(&why);
        }
        Some(Err(why))
    }

    async fn part(&self, name: &str, bytes: Vec<u8>) {
        self.sink.part(format!("{}/{name}", self.wish.folder), bytes).await;
    }

    /// A stream of bytes as a file; what came before it broke is kept.
    async fn file(
        &mut self,
        what: &str,
        name: &str,
        open: impl Future<Output = Result<Response<Streaming<Data>>, Status>> + Send,
    ) {
        let mut tail = Tail::new(self.wish.bytes_max);
        let read = async {
            let mut stream = open.await?.into_inner();
            while let Some(data) = stream.message().await? {
                tail.push(&data.bytes);
            }
            Ok::<_, Status>(())
        };
        self.ask(what, read).await;
        if !tail.is_empty() {
            self.part(name, tail.finish()).await;
        }
    }
}

/// Whether this is what one hears of a machine that is not there.
fn is_miss(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

/// What the machine says, with what lies below; those that say nothing have a code.
fn words(status: &Status) -> String {
    let said =
        if status.message().is_empty() { status.code().to_string() } else { status.message().to_owned() };
    match std::error::Error::source(status) {
        Some(source) => format!("{said}: {}", corten_base::chain(source)),
        None => said,
    }
}
