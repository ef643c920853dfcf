//! `service`: state and control of services.

use std::time::SystemTime;

use clap::{Args, ValueEnum};
use corten_api::machine::{ServiceInfo, ServiceRestartRequest, ServiceStartRequest, ServiceStopRequest};
use serde_json::{Map, Value, json};

use crate::command::{Command, Report};
use crate::connect::{Maintenance, Node, Targets, only};
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::pernode::{Answer, PerNode};
use crate::table::{Column, Row, align};
use crate::units;

/// Show services, or start, stop or restart one.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten services\n  corten service kubelet\n  corten service kubelet restart"
)]
pub struct Service {
    /// The service; all of them if none is named.
    id: Option<String>,
    /// What to do with it.
    #[arg(value_enum, default_value_t, requires = "id")]
    action: Action,
    #[command(flatten)]
    maintenance: Maintenance,
}

/// What to do with a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Show it.
    #[default]
    Status,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop and start it.
    Restart,
}

/// A service as a line of the list.
pub struct Line {
    info: ServiceInfo,
    now: SystemTime,
}

fn health(info: &ServiceInfo) -> &'static str {
    match &info.health {
        Some(health) if health.unknown => "?",
        Some(health) if health.healthy => "OK",
        Some(_) => "Fail",
        None => "?",
    }
}

fn ago(stamp: Option<prost_types::Timestamp>, now: SystemTime) -> String {
    let past = units::time_of(stamp).map(|time| now.duration_since(time).unwrap_or_default());
    past.map(|past| format!("{} ago", units::short(past))).unwrap_or_default()
}

impl Line {
    fn last(&self) -> corten_api::machine::ServiceEvent {
        self.info.events.as_ref().and_then(|events| events.events.last()).cloned().unwrap_or_default()
    }
}

impl Row for Line {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("SERVICE", "id", |s| (&s.info.id).into()),
        Column::new("STATE", "state", |s| (&s.info.state).into()),
        Column::new("HEALTH", "health", |s| health(&s.info).into()),
        Column::new("LAST CHANGE", "lastChange", |s| {
            let stamp = s.last().ts;
            let time = units::time_of(stamp).map(units::rfc3339);
            crate::table::Cell::new(ago(stamp, s.now), time)
        }),
        Column::new("LAST EVENT", "lastEvent", |s| s.last().msg.into()),
    ];
}

/// One service with its history.
pub struct Detail(Line);

impl Answer for Detail {
    fn text(answers: &[(&str, &Self)]) -> String {
        let one = |(node, Self(line)): &(&str, &Self)| {
            let mut rows = vec![
                vec!["NODE".to_owned(), (*node).to_owned()],
                vec!["ID".to_owned(), line.info.id.clone()],
                vec!["STATE".to_owned(), line.info.state.clone()],
                vec!["HEALTH".to_owned(), health(&line.info).to_owned()],
            ];
            if let Some(health) = line.info.health.as_ref().filter(|health| !health.last_message.is_empty()) {
                let message = format!("{} ({})", health.last_message, ago(health.last_change, line.now));
                rows.push(vec!["LAST HEALTH MESSAGE".to_owned(), message]);
            }
            let mut title = "EVENTS";
            for event in line.info.events.iter().flat_map(|events| events.events.iter().rev()) {
                let text = format!("[{}]: {} ({})", event.state, event.msg, ago(event.ts, line.now));
                rows.push(vec![std::mem::take(&mut title).to_owned(), text]);
            }
            align(&rows)
        };
        answers.iter().map(one).collect()
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        let Self(line) = self;
        let time = |stamp| units::time_of(stamp).map(units::rfc3339);
        let events = line.info.events.iter().flat_map(|events| &events.events);
        let events: Vec<Value> = events
            .map(|event| json!({"state": event.state, "message": event.msg, "time": time(event.ts)}))
            .collect();
        let mut data = line.data();
        data.insert("events".to_owned(), events.into());
        vec![data]
    }
}

/// Whatever was asked for.
pub enum ServiceReport {
    /// All services.
    List(PerNode<Vec<Line>>),
    /// One service.
    Detail(PerNode<Detail>),
    /// What became of it.
    Done(PerNode<String>),
}

impl ServiceReport {
    fn inner(&self) -> &dyn Report {
        match self {
            Self::List(report) => report,
            Self::Detail(report) => report,
            Self::Done(report) => report,
        }
    }
}

impl Report for ServiceReport {
    fn text(&self) -> String {
        self.inner().text()
    }

    fn data(&self) -> Value {
        self.inner().data()
    }

    fn failures(&self) -> Vec<Failure> {
        self.inner().failures()
    }
}

impl Command for Service {
    type Report = ServiceReport;

    async fn run(self, cx: &Cx) -> Result<ServiceReport, Failure> {
        let targets = cx.targets_in(&self.maintenance)?;
        let now = cx.clock.now();
        let Some(id) = self.id else {
            let ask = |node: Node| async move {
                let all = list(&node).await?.into_iter();
                Ok(all.map(|info| Line { info, now }).collect())
            };
            return Ok(ServiceReport::List(targets.each("list the services on", ask).await));
        };
        if self.action == Action::Status {
            return Ok(ServiceReport::Detail(detail(targets, &id, now).await));
        }
        let (id, action) = (&id, self.action);
        let verb = format!("{action:?}").to_lowercase();
        let act = |node: Node| async move { control(&node, id.clone(), action).await };
        Ok(ServiceReport::Done(targets.each(&format!("{verb} the service {id} on"), act).await))
    }
}

async fn list(node: &Node) -> Result<Vec<ServiceInfo>, Cause> {
    Ok(only(node.client.machine().service_list(()).await?)?.services)
}

async fn detail(targets: Targets, id: &str, now: SystemTime) -> PerNode<Detail> {
    let ask = |node: Node| async move {
        let all = list(&node).await?;
        let known: Vec<_> = all.iter().map(|info| info.id.clone()).collect();
        let found = all.into_iter().find(|info| info.id == id);
        let found =
            found.ok_or_else(|| Cause::new(format!("there is none; services here: {}", known.join(", "))))?;
        Ok(Detail(Line { info: found, now }))
    };
    targets.each(&format!("show the service {id} on"), ask).await
}

async fn control(node: &Node, id: String, action: Action) -> Result<String, Cause> {
    let mut machine = node.client.machine();
    Ok(match action {
        Action::Start | Action::Status => {
            only(machine.service_start(ServiceStartRequest { id }).await?)?.resp
        }
        Action::Stop => only(machine.service_stop(ServiceStopRequest { id }).await?)?.resp,
        Action::Restart => only(machine.service_restart(ServiceRestartRequest { id }).await?)?.resp,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_api::machine::{ServiceEvent, ServiceEvents, ServiceHealth};

    use super::*;
    use crate::command::pretty;

    fn line() -> Line {
        let stamp = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let event =
            |state: &str, msg: &str, at| ServiceEvent { state: state.into(), msg: msg.into(), ts: stamp(at) };
        let events = vec![
            event("Preparing", "Running pre state", 100),
            event("Running", "Health check successful", 160),
        ];
        let info = ServiceInfo {
            id: "kubelet".into(),
            state: "Running".into(),
            events: Some(ServiceEvents { events }),
            health: Some(ServiceHealth { healthy: true, last_change: stamp(170), ..Default::default() }),
        };
        Line { info, now: SystemTime::UNIX_EPOCH + Duration::from_secs(260) }
    }

    #[test]
    fn list_detail_and_data() {
        let list = PerNode(vec![("10.5.0.2".into(), Ok(vec![line()]))]);
        let detail = PerNode(vec![("10.5.0.2".into(), Ok(Detail(line())))]);
        crate::snapshot::check("service", &[list.text(), detail.text(), pretty(&detail.data())].join("\n"));
    }
}
