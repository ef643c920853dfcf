//! The services of a machine, their logs, and the kernel's.

use corten_api::common::ContainerDriver;
use corten_api::machine::{DmesgRequest, LogsRequest, ServiceInfo};
use corten_diagnose::ServiceFact;
use tonic::Status;

use super::{Inquiry, KERNEL_LOG, LINES, SERVICES, Scope, Sink};
use crate::archive::segment;
use crate::table::table;

/// Services whose logs are asked for.
const SERVICES_MAX: usize = 64;
/// Services whose logs are read for a diagnosis, beside those that are not well.
const READ: [&str; 3] = ["kubelet", "etcd", "cri"];
/// Where containerd has the services.
const SYSTEM: &str = "system";
/// State of a service that ended on its own.
const FAILED: &str = "Failed";

impl<S: Sink> Inquiry<'_, S> {
    /// The services and their logs.
    pub(super) async fn services(&mut self) {
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.service_list(()).await?.into_inner()) };
        let Some(answer) = self.ask("services", question).await else { return };
        let all = answer.messages.into_iter().flat_map(|message| message.services);
        let services: Vec<ServiceInfo> = all.take(SERVICES_MAX).collect();
        self.vitals.services = services.iter().map(fact).collect();
        let rows: Vec<_> = services.iter().map(row).collect();
        self.part("services", table(["ID", "STATE", "HEALTH", "SINCE", "LAST EVENT"], &rows)).await;
        for service in &services {
            if self.wish.scope == Scope::Diagnosis && !is_read(service) {
                continue;
            }
            let id = segment(&service.id);
            self.part(&format!("{SERVICES}/{id}.state"), state(service)).await;
            let open = self.log(SYSTEM, ContainerDriver::Containerd, &service.id);
            self.file(&format!("log of {}", service.id), &format!("{SERVICES}/{id}.log"), open).await;
        }
    }

    /// The end of a log.
    pub(super) fn log(
        &self,
        namespace: &str,
        driver: ContainerDriver,
        id: &str,
    ) -> impl Future<Output = Result<tonic::Response<tonic::Streaming<corten_api::common::Data>>, Status>>
    + Send
    + use<S> {
        let request = LogsRequest {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
            driver: driver.into(),
            follow: false,
            tail_lines: LINES.into(),
        };
        let mut api = self.client.machine();
        async move { api.logs(request).await }
    }

    pub(super) async fn kernel_log(&mut self) {
        let mut api = self.client.machine();
        let open = async move { api.dmesg(DmesgRequest { follow: false, tail: false }).await };
        self.file("kernel log", KERNEL_LOG, open).await;
    }
}

/// Whether a diagnosis looks at the log of a service.
fn is_read(service: &ServiceInfo) -> bool {
    let is_well =
        service.state == "Running" && service.health.as_ref().is_none_or(|it| it.unknown || it.healthy);
    !is_well || READ.contains(&service.id.as_str())
}

/// What diagnoses know of a service.
fn fact(service: &ServiceInfo) -> ServiceFact {
    let events = service.events.as_ref().map(|events| events.events.as_slice()).unwrap_or_default();
    let failures = events.iter().filter(|event| event.state == FAILED);
    let last = failures.clone().next_back();
    let ill = service.health.as_ref().filter(|health| !health.unknown && !health.healthy);
    ServiceFact {
        id: service.id.clone(),
        state: service.state.clone(),
        message: events.last().map(|event| event.msg.clone()).unwrap_or_default(),
        illness: ill.map(|health| health.last_message.clone()).unwrap_or_default(),
        failures: u32::try_from(failures.count()).unwrap_or(u32::MAX),
        last_failure: last.map(|event| event.msg.clone()).unwrap_or_default(),
        failed: last.and_then(|event| event.ts).and_then(|stamp| stamp.try_into().ok()),
    }
}

fn health(service: &ServiceInfo) -> &'static str {
    match service.health.as_ref().map(|health| (health.unknown, health.healthy)) {
        None => "",
        Some((true, _)) => "?",
        Some((false, true)) => "ok",
        Some((false, false)) => "fail",
    }
}

fn row(service: &ServiceInfo) -> [String; 5] {
    let since =
        service.health.as_ref().and_then(|health| health.last_change.as_ref()).map(ToString::to_string);
    let event = service.events.as_ref().and_then(|events| events.events.last());
    [
        service.id.clone(),
        service.state.clone(),
        health(service).to_owned(),
        since.unwrap_or_default(),
        event.map(|event| event.msg.clone()).unwrap_or_default(),
    ]
}

/// A service with its last changes, newest first.
fn state(service: &ServiceInfo) -> Vec<u8> {
    let mut text =
        format!("ID       {}\nSTATE    {}\nHEALTH   {}\n", service.id, service.state, health(service));
    if let Some(health) = service.health.as_ref().filter(|health| !health.last_message.is_empty()) {
        text.push_str(&format!("LAST HEALTH MESSAGE   {}\n", health.last_message));
    }
    for event in service.events.iter().flat_map(|events| events.events.iter().rev()) {
        let at = event.ts.as_ref().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("EVENT    {at} [{}]: {}\n", event.state, event.msg));
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use corten_api::machine::{ServiceEvent, ServiceEvents, ServiceHealth};

    use super::*;

    #[test]
    fn how_often_a_service_failed_is_counted_and_what_it_said_last() {
        let event = |state: &str, msg: &str| ServiceEvent { state: state.into(), msg: msg.into(), ts: None };
        let events = vec![
            event("Failed", "one"),
            event("Running", "up"),
            event("Failed", "two"),
            event("Waiting", "x"),
        ];
        let health = ServiceHealth { last_message: "no answer".into(), ..ServiceHealth::default() };
        let info = ServiceInfo {
            id: "etcd".into(),
            state: "Waiting".into(),
            events: Some(ServiceEvents { events }),
            health: Some(health),
        };
        let ServiceFact { message, illness, failures, last_failure, .. } = fact(&info);
        assert_eq!(
            (message.as_str(), illness.as_str(), failures, last_failure.as_str()),
            ("x", "no answer", 2, "two")
        );
        assert!(is_read(&info));
        assert!(!is_read(&ServiceInfo {
            id: "apid".into(),
            state: "Running".into(),
            ..ServiceInfo::default()
        }));
        assert!(String::from_utf8(state(&info)).expect("text").contains("[Failed]: two"));
    }
}
