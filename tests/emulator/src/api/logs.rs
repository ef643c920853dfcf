//! Files, logs and events of a machine: few files, one log, real events.

use std::sync::Arc;

use corten_api::common::Data;
use corten_api::machine::{Event, EventsRequest, FileInfo, LogsContainer, LogsRequest};
use tonic::Status;

use super::stream::{Reply, data, from_task, ready};
use crate::machine::Machine;
use crate::resources::services::services;

/// The one file that there is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Folder of etcd's data; there is one member in it when the machine has one.
const ETCD_DATA: &str = "/var/lib/etcd";
/// The bit of Go's file modes that says folder.
const FOLDER: u32 = 1 << 31;

/// The kernel log; with `follow` what comes as well, with `tail` only that.
pub fn dmesg(machine: Arc<Machine>, follow: bool, tail: bool) -> Reply<Data> {
    let lines = if tail { Vec::new() } else { machine.log().lines() };
    let mut next = lines.last().map_or_else(|| machine.log().end(), |line| line.number + 1);
    if !follow {
        return ready(lines.iter().map(|line| data(line.to_dmesg())).collect());
    }
    from_task(move |sender| async move {
        for line in lines {
            if sender.send(Ok(data(line.to_dmesg()))).await.is_err() {
                return;
            }
        }
        loop {
            let line = machine.log().next(&mut next).await;
            if sender.send(Ok(data(line.to_dmesg()))).await.is_err() {
                return;
            }
        }
    })
}

/// Services with a log.
pub fn containers(machine: &Machine) -> LogsContainer {
    let ids = machine.with_facts(|facts| services(facts).iter().map(|one| one.id.to_owned()).collect());
    LogsContainer { metadata: None, ids }
}

/// The log of a service: one line that says what it does.
pub fn logs(machine: &Machine, request: &LogsRequest) -> Result<Reply<Data>, Status> {
    let all = machine.with_facts(services);
    let service = all.into_iter().find(|service| service.id == request.id);
    let service = service.ok_or_else(|| Status::not_found(format!("log {:?} was not found", request.id)))?;
    let what = service.waits_for.map_or_else(|| "runs".to_owned(), |what| format!("waits for {what}"));
    Ok(ready(vec![data(format!("{}: {what} (emulated)\n", service.id))]))
}

/// The contents of a file.
pub fn read(machine: &Machine, path: &str) -> Result<Reply<Data>, Status> {
    match path {
        BOOT_ID => Ok(ready(vec![data(format!("{}\n", machine.boot_id()))])),
        _ => Err(Status::not_found(format!("stat {path}: no such file or directory"))),
    }
}

/// A listing; of etcd's data it tells whether there are any.
pub fn list(machine: &Machine, root: &str) -> Result<Reply<FileInfo>, Status> {
    if root.trim_end_matches('/') != ETCD_DATA {
        return Err(Status::not_found(format!("lstat {root}: no such file or directory")));
    }
    let folder = |relative: &str| FileInfo {
        name: format!("{ETCD_DATA}/{relative}").trim_end_matches('/').to_owned(),
        relative_name: if relative.is_empty() { ".".to_owned() } else { relative.to_owned() },
        mode: FOLDER | 0o700,
        is_dir: true,
        ..FileInfo::default()
    };
    let mut all = vec![folder("")];
    if machine.with_facts(|facts| facts.member.is_some()) {
        all.push(folder("member"));
    }
    Ok(ready(all))
}

/// Events, those that the request wants first.
pub fn events(machine: Arc<Machine>, request: EventsRequest) -> Result<Reply<Event>, Status> {
    if !request.tail_id.is_empty() || request.tail_seconds != 0 {
        return Err(Status::unimplemented("only tail_events is emulated"));
    }
    let mut position = machine.events().position(request.tail_events);
    Ok(from_task(move |sender| async move {
        // The first message is empty: clients wait for it.
        let mut message = Event::default();
        loop {
            if sender.send(Ok(message)).await.is_err() {
                return;
            }
            message = loop {
                let event = machine.events().next(&mut position).await;
                if request.with_actor_id.is_empty() || request.with_actor_id == event.actor {
                    let data = Some(event.to_any());
                    break Event { metadata: None, data, id: event.id, actor_id: event.actor };
                }
            };
        }
    }))
}
