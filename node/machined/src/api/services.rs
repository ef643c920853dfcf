//! Services and their logs.

use corten_api::common::Data;
use corten_api::machine::{
    LogsContainer, LogsRequest, ServiceEvent, ServiceEvents, ServiceHealth, ServiceInfo, ServiceList,
    ServiceRestart, ServiceStart, ServiceStop,
};
use tonic::Status;

use super::stream::{self, Reply, Sender, data};
use super::{Parts, workloads};
use crate::logs::{self, Reader, Tail};
use crate::services::{ControlError, Record};

/// Every service with its state, health and last changes.
#[must_use]
pub fn list(parts: &Parts) -> ServiceList {
    let services = parts.services.list().into_iter().map(|(id, record)| info(id, &record)).collect();
    ServiceList { services, ..ServiceList::default() }
}

fn info(id: String, record: &Record) -> ServiceInfo {
    let events = record.history.iter().map(|change| ServiceEvent {
        msg: change.message.clone(),
        state: change.state.as_str().to_owned(),
        ts: Some(change.at.into()),
    });
    let health = ServiceHealth {
        unknown: record.healthy.is_none(),
        healthy: record.healthy.unwrap_or(false),
        last_message: record.health_message.clone(),
        last_change: Some(record.health_changed.into()),
    };
    ServiceInfo {
        id,
        state: record.state.as_str().to_owned(),
        events: Some(ServiceEvents { events: events.collect() }),
        health: Some(health),
    }
}

/// Clients expect these refusals without a code of their own.
fn refused(error: &ControlError) -> Status {
    Status::unknown(error.to_string())
}

/// Starts a service.
pub fn start(parts: &Parts, id: &str) -> Result<ServiceStart, Status> {
    let resp = parts.services.api_start(id).map_err(|error| refused(&error))?;
    Ok(ServiceStart { resp, ..ServiceStart::default() })
}

/// Stops a service.
pub fn stop(parts: &Parts, id: &str) -> Result<ServiceStop, Status> {
    let resp = parts.services.api_stop(id).map_err(|error| refused(&error))?;
    Ok(ServiceStop { resp, ..ServiceStop::default() })
}

/// Restarts a service.
pub fn restart(parts: &Parts, id: &str) -> Result<ServiceRestart, Status> {
    let resp = parts.services.api_restart(id).map_err(|error| refused(&error))?;
    Ok(ServiceRestart { resp, ..ServiceRestart::default() })
}

/// Ids of service logs.
#[must_use]
pub fn logs_containers() -> LogsContainer {
    LogsContainer { ids: logs::services(), ..LogsContainer::default() }
}

/// A service's or container's log.
pub async fn logs(request: LogsRequest) -> Result<Reply<Data>, Status> {
    let service = request.namespace.is_empty() || request.namespace == "system" || request.id == "kubelet";
    let path = if service {
        logs::path_of(&request.id)
            .ok_or_else(|| Status::not_found(format!("log \"{}\" was not registered", request.id)))?
    } else {
        workloads::log_path(&request.namespace, &request.id).await?
    };
    let earlier = if service { logs::earlier(&request.id) } else { None };
    let reader = Reader::with_earlier(earlier.as_deref(), &path, Tail::from(request.tail_lines))
        .map_err(|error| Status::internal(format!("{}: {error}", path.display())))?;
    Ok(stream::from_task(move |sender| send(sender, reader, request.follow)))
}

async fn send(sender: Sender<Data>, mut reader: Reader, follow: bool) -> Result<(), Status> {
    let broken = |error: std::io::Error| Status::internal(error.to_string());
    let watch = reader.watch().map_err(broken)?;
    loop {
        let bytes = reader.read().map_err(broken)?;
        if !bytes.is_empty() {
            if sender.send(Ok(data(bytes))).await.is_err() {
                return Ok(());
            }
        } else if follow {
            reader.changed(&watch).await.map_err(broken)?;
        } else {
            return Ok(());
        }
    }
}
