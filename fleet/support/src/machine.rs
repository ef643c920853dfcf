//! What one machine tells of itself, over its own API.
//!
//! ```text
//! MachineLogs (the manager's own) ─▶ log.txt
//! Reach ─▶ Client ─▶ version, services and their logs, kernel log, mounts, processes, resources, etcd ─▶ Reporter
//! ```
//!
//! Each question has a deadline. A machine that is away costs one problem, and one that stops answering is not asked
//! further. Resources that only administrators read are left out.

mod etcd;
mod resources;

use std::future::Future;
use std::time::Duration;

use corten_api::common::{ContainerDriver, Data};
use corten_api::machine::{DmesgRequest, LogsRequest, MountStat, ProcessInfo, ServiceInfo};
use corten_base::chain;
use corten_client::Client;
use corten_fleet_api::management::MachineLogs;
use futures::StreamExt as _;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Response, Status, Streaming};

use crate::archive::segment;
use crate::lines::Tail;
use crate::reach::Reach;
use crate::report::Reporter;
use crate::table::table;

/// What a machine is asked for, in this order.
const STEPS: [&str; 8] =
    ["its log here", "connection", "version", "services", "kernel log", "tables", "resources", "etcd"];
/// How many steps there are.
pub(crate) const STEPS_COUNT: usize = STEPS.len();
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Answers that may fail to come until a machine is not asked any more.
const MISSES_MAX: u32 = 2;
/// Lines of a log that are asked for.
const LINES: u16 = 5000;
/// Services whose logs are asked for.
const SERVICES_MAX: usize = 64;
/// Where containerd has the services.
const SYSTEM: &str = "system";

/// What is wanted of a machine.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// Its cluster.
    pub(crate) cluster: &'a str,
    /// Its UUID.
    pub(crate) machine: &'a str,
    /// Longest part.
    pub(crate) bytes_max: usize,
    /// When all of it is to be over.
    pub(crate) until: Instant,
}

/// Asks a machine, and the logs of the manager for it.
pub(crate) async fn collect(wish: Wish<'_>, logs: &dyn MachineLogs, reach: &dyn Reach, reporter: &Reporter) {
    let folder = format!("machines/{}", segment(wish.machine));
    let [log, connection, steps @ ..] = STEPS;
    own_log(wish, logs, &folder, reporter).await;
    reporter.step(log).await;
    let reached = timeout_at(wish.until, reach.machine(wish.cluster, wish.machine)).await;
    reporter.step(connection).await;
    let client = match reached {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return reporter.problem("all but its log here", chain(&error)).await,
        Err(_) => return reporter.problem("all but its log here", "the time for the bundle is over").await,
    };
    let mut inquiry = Inquiry { wish, client, folder, reporter, misses: 0 };
    let [version, services, kernel, tables, resources, etcd] = steps;
    inquiry.version().await;
    reporter.step(version).await;
    let has_etcd = inquiry.services().await;
    reporter.step(services).await;
    inquiry.kernel_log().await;
    reporter.step(kernel).await;
    inquiry.tables().await;
    reporter.step(tables).await;
    inquiry.resources().await;
    reporter.step(resources).await;
    if has_etcd {
        inquiry.etcd().await;
    }
    reporter.step(etcd).await;
}

/// The log that the machine has sent to the manager, also before it was away.
async fn own_log(wish: Wish<'_>, logs: &dyn MachineLogs, folder: &str, reporter: &Reporter) {
    let mut tail = Tail::new(wish.bytes_max);
    let read = async {
        let mut lines = logs.read(wish.machine, Some(usize::from(LINES)), false).await?;
        while let Some(line) = lines.next().await {
            tail.push(&line?);
            tail.push(b"\n");
        }
        Ok::<_, Status>(())
    };
    match timeout_at(deadline(wish.until), read).await {
        Ok(Ok(())) => {}
        Ok(Err(status)) => reporter.problem("its log here", words(&status)).await,
        Err(_) => reporter.problem("its log here", "the disk did not answer in time").await,
    }
    if !tail.is_empty() {
        reporter.part(format!("{folder}/log.txt"), tail.finish()).await;
    }
}

fn deadline(until: Instant) -> Instant {
    until.min(Instant::now() + ANSWER_MAX)
}

/// A machine that is asked.
struct Inquiry<'a> {
    wish: Wish<'a>,
    client: Client,
    folder: String,
    reporter: &'a Reporter,
    /// Answers that did not come, one after another.
    misses: u32,
}

impl Inquiry<'_> {
    /// The answer to a question. Why there is none is told.
    async fn ask<T>(
        &mut self,
        what: &str,
        question: impl Future<Output = Result<T, Status>> + Send,
    ) -> Option<T> {
        if self.misses >= MISSES_MAX {
            return None;
        }
        let (why, is_miss) = match timeout_at(deadline(self.wish.until), question).await {
            Ok(Ok(answer)) => {
                self.misses = 0;
                return Some(answer);
            }
            Ok(Err(status)) => (words(&status), is_miss(&status)),
            Err(_) => (format!("no answer within {} s", ANSWER_MAX.as_secs()), true),
        };
        self.misses = if is_miss { self.misses + 1 } else { 0 };
        self.reporter.problem(what, why).await;
        if self.misses >= MISSES_MAX {
            self.reporter.problem("the rest", "the machine answers no more, and is asked no more").await;
        }
        None
    }

    async fn part(&self, name: &str, bytes: Vec<u8>) {
        self.reporter.part(format!("{}/{name}", self.folder), bytes).await;
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

    async fn version(&mut self) {
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.version(()).await?.into_inner()) };
        let Some(answer) = self.ask("version", question).await else { return };
        let rows = answer.messages.into_iter().map(|message| {
            let version = message.version.unwrap_or_default();
            let platform = message.platform.unwrap_or_default();
            [version.tag, version.sha, version.arch, platform.name]
        });
        let rows: Vec<_> = rows.collect();
        self.part("version.txt", table(["VERSION", "COMMIT", "PROCESSOR", "PLATFORM"], &rows)).await;
    }

    /// The services and their logs. True if etcd is one of them.
    async fn services(&mut self) -> bool {
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.service_list(()).await?.into_inner()) };
        let Some(answer) = self.ask("services", question).await else { return false };
        let services: Vec<ServiceInfo> =
            answer.messages.into_iter().flat_map(|message| message.services).take(SERVICES_MAX).collect();
        let rows: Vec<_> = services.iter().map(service).collect();
        self.part("services.txt", table(["ID", "STATE", "HEALTH", "SINCE", "LAST EVENT"], &rows)).await;
        for service in &services {
            let request = LogsRequest {
                namespace: SYSTEM.to_owned(),
                id: service.id.clone(),
                driver: ContainerDriver::Containerd.into(),
                follow: false,
                tail_lines: LINES.into(),
            };
            let mut api = self.client.machine();
            let open = async move { api.logs(request).await };
            let name = format!("services/{}.log", segment(&service.id));
            self.file(&format!("log of {}", service.id), &name, open).await;
        }
        services.iter().any(|service| service.id == "etcd")
    }

    async fn kernel_log(&mut self) {
        let mut api = self.client.machine();
        let open = async move { api.dmesg(DmesgRequest { follow: false, tail: false }).await };
        self.file("kernel log", "dmesg.txt", open).await;
    }

    /// Mounts and processes.
    async fn tables(&mut self) {
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.mounts(()).await?.into_inner()) };
        if let Some(answer) = self.ask("mounts", question).await {
            let all = answer.messages.iter().flat_map(|message| &message.stats);
            let rows: Vec<_> = all.map(mount).collect();
            self.part("mounts.txt", table(["SIZE", "AVAILABLE", "FILE SYSTEM", "PLACE"], &rows)).await;
        }
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.processes(()).await?.into_inner()) };
        if let Some(answer) = self.ask("processes", question).await {
            let all = answer.messages.iter().flat_map(|message| &message.processes);
            let rows: Vec<_> = all.map(process).collect();
            let headings = ["PID", "PARENT", "STATE", "THREADS", "CPU SECONDS", "MEMORY", "COMMAND"];
            self.part("processes.txt", table(headings, &rows)).await;
        }
    }
}

/// Whether this is what one hears of a machine that is not there.
fn is_miss(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

/// What the machine says; those that say nothing have a code.
fn words(status: &Status) -> String {
    if status.message().is_empty() { status.code().to_string() } else { status.message().to_owned() }
}

fn service(service: &ServiceInfo) -> [String; 5] {
    let health = service.health.as_ref();
    let word = health.map_or("", |health| match (health.unknown, health.healthy) {
        (true, _) => "?",
        (false, true) => "ok",
        (false, false) => "fail",
    });
    let since = health.and_then(|health| health.last_change.as_ref()).map(ToString::to_string);
    let event = service.events.as_ref().and_then(|events| events.events.last());
    let event = event.map(|event| event.msg.clone());
    [
        service.id.clone(),
        service.state.clone(),
        word.to_owned(),
        since.unwrap_or_default(),
        event.unwrap_or_default(),
    ]
}

fn mount(mount: &MountStat) -> [String; 4] {
    let MountStat { filesystem, size, available, mounted_on } = mount;
    [size.to_string(), available.to_string(), filesystem.clone(), mounted_on.clone()]
}

fn process(process: &ProcessInfo) -> [String; 7] {
    let command = if process.args.is_empty() { &process.command } else { &process.args };
    [
        process.pid.to_string(),
        process.ppid.to_string(),
        process.state.clone(),
        process.threads.to_string(),
        format!("{:.2}", process.cpu_time),
        process.resident_memory.to_string(),
        command.clone(),
    ]
}
