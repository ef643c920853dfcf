//! What machines say of themselves over their API.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{anyhow, bail, ensure};
use corten_api::cosi::resource::ListRequest;
use corten_api::machine::{EtcdMember, EtcdMemberListRequest, ServiceInfo};
use corten_kubernetes::object;
use corten_resource::{AnyResource, Metadata, Resource, Spec};
use corten_resources::kubernetes::{StaticPod, StaticPodStatus};
use corten_resources::runtime::{Diagnostic, MachineStage, MachineStatus};
use serde_json::{Value, json};
use tonic::Status;

use super::fleet::{Asked, Fleet, Machine, Which};

/// What the kernel keeps of a machine's memory for itself.
const KERNEL_KIB: u64 = 150 << 10;
/// Smallest memory of a control plane.
const CONTROL_PLANE_KIB_MIN: u64 = (1848 << 10) - KERNEL_KIB;
/// Smallest memory of a worker.
const WORKER_KIB_MIN: u64 = (1024 << 10) - KERNEL_KIB;
/// Smallest size of all disks together.
const DISKS_BYTES_MIN: u64 = 6 << 30;
/// Resources of one type that are looked at.
const RESOURCES_MAX: usize = 1000;

/// A refusal in the words of the machine, or why there was none.
fn said(status: Status) -> anyhow::Error {
    match std::error::Error::source(&status) {
        Some(source) => anyhow!("{}: {}", status.message(), corten_base::chain(source)),
        None => anyhow!("{}", status.message()),
    }
}

/// The API answers.
pub(super) async fn answers(asked: Asked) -> anyhow::Result<()> {
    asked.api.machine().version(()).await.map(drop).map_err(said)
}

/// A service runs, and is healthy as far as that is checked.
pub(super) async fn service_healthy(asked: Asked, id: &str) -> anyhow::Result<()> {
    let answer = asked.api.machine().service_list(()).await.map_err(said)?.into_inner();
    let service = answer.messages.into_iter().flat_map(|message| message.services).find(|it| it.id == id);
    healthy(id, service.as_ref())
}

fn healthy(id: &str, service: Option<&ServiceInfo>) -> anyhow::Result<()> {
    let Some(service) = service else { bail!("there is no service {id}") };
    let last = || {
        let events = service.events.iter().flat_map(|events| &events.events);
        events.last().map(|event| event.msg.as_str()).unwrap_or_default()
    };
    ensure!(service.state == "Running", "service {id} is {}: {}", service.state, last());
    match &service.health {
        Some(health) if health.unknown => bail!("health of service {id} is not known yet"),
        Some(health) if !health.healthy => bail!("service {id} is not healthy: {}", health.last_message),
        _ => Ok(()),
    }
}

/// Enough memory for its role.
pub(super) async fn memory_suffices(asked: Asked) -> anyhow::Result<()> {
    let answer = asked.api.machine().memory(()).await.map_err(said)?.into_inner();
    let minimum = if asked.machine.is_control_plane { CONTROL_PLANE_KIB_MIN } else { WORKER_KIB_MIN };
    for info in answer.messages.into_iter().filter_map(|message| message.meminfo) {
        let (has, needs) = (info.memtotal >> 10, minimum >> 10);
        ensure!(info.memtotal >= minimum, "{has} MiB of memory, but its role needs {needs} MiB");
    }
    Ok(())
}

/// Enough disk; a machine that has none of its own (a container) is not judged.
pub(super) async fn disks_suffice(asked: Asked) -> anyhow::Result<()> {
    let answer = asked.api.storage().disks(()).await.map_err(said)?.into_inner();
    let disks = answer.messages.into_iter().flat_map(|message| message.disks);
    let total: u64 = disks.map(|disk| disk.size).fold(0, u64::saturating_add);
    ensure!(
        total == 0 || total >= DISKS_BYTES_MIN,
        "{} MiB of disk, but {} MiB are needed",
        total >> 20,
        DISKS_BYTES_MIN >> 20
    );
    Ok(())
}

/// The machine does not complain.
pub(super) async fn no_diagnostics(asked: Asked) -> anyhow::Result<()> {
    let complaints: Vec<String> =
        list::<Diagnostic>(&asked).await?.into_iter().map(|it| it.spec.message).collect();
    ensure!(complaints.is_empty(), "{}", complaints.join("; "));
    Ok(())
}

/// The boot sequence is over.
pub(super) async fn booted(asked: Asked) -> anyhow::Result<()> {
    let statuses = list::<MachineStatus>(&asked).await?;
    let Some(status) = statuses.first() else { bail!("the machine does not tell its stage yet") };
    ensure!(status.stage == MachineStage::Running, "the machine's stage is {:?}", status.stage);
    Ok(())
}

/// Every static pod of the machine is ready.
pub(super) async fn static_pods_ready(asked: Asked) -> anyhow::Result<()> {
    let pods = list::<StaticPod>(&asked).await?;
    let statuses = list::<StaticPodStatus>(&asked).await?;
    ensure!(!pods.is_empty(), "no static pods are rendered yet");
    let missing: Vec<&str> = pods
        .iter()
        .filter(|pod| !statuses.iter().any(|status| is_ready(pod, status)))
        .map(|pod| pod.metadata.id.as_str())
        .collect();
    ensure!(missing.is_empty(), "not ready: {}", missing.join(", "));
    Ok(())
}

/// The kubelet reports a static pod as `NAMESPACE/NAME-NODE`.
fn is_ready(pod: &Resource<StaticPod>, status: &Resource<StaticPodStatus>) -> bool {
    let pod = Value::Object(pod.spec.pod.clone());
    let namespace = Some(object::namespace(&pod)).filter(|it| !it.is_empty()).unwrap_or("default");
    let prefix = format!("{namespace}/{}-", object::name(&pod));
    status.metadata.id.starts_with(&prefix)
        && object::has_condition(&json!({"status": status.spec.pod_status}), "Ready")
}

/// Resources of a type in its namespace.
async fn list<S: Spec>(asked: &Asked) -> anyhow::Result<Vec<Resource<S>>> {
    let (namespace, kind) = (S::DEFINITION.namespace, S::DEFINITION.kind);
    let request = ListRequest { namespace: namespace.into(), r#type: kind.into(), ..ListRequest::default() };
    let mut stream = asked.api.state().list(request).await.map_err(said)?.into_inner();
    let mut found = Vec::new();
    while let Some(answer) = stream.message().await.map_err(said)? {
        ensure!(found.len() < RESOURCES_MAX, "more than {RESOURCES_MAX} resources of type {kind}");
        let resource = answer.resource.unwrap_or_default();
        let metadata = Metadata::new(namespace, kind, resource.metadata.unwrap_or_default().id);
        let spec = resource.spec.unwrap_or_default().proto_spec;
        let decoded = AnyResource::from_proto::<S>(metadata.clone(), &spec)?;
        found.extend(decoded.spec::<S>().map(|spec| Resource { metadata, spec: spec.clone() }));
    }
    Ok(found)
}

async fn etcd_members(asked: Asked, query_local: bool) -> anyhow::Result<Vec<EtcdMember>> {
    let answer = asked.api.machine().etcd_member_list(EtcdMemberListRequest { query_local }).await;
    Ok(answer.map_err(said)?.into_inner().messages.into_iter().flat_map(|it| it.members).collect())
}

/// All control planes know the same members.
pub(super) async fn etcd_agrees(fleet: &Fleet) -> anyhow::Result<()> {
    let answers = fleet.ask(Which::ControlPlanes, |asked| etcd_members(asked, true)).await?;
    let ids = |members: &[EtcdMember]| members.iter().map(|it| it.id).collect::<BTreeSet<_>>();
    let views: BTreeSet<BTreeSet<u64>> = answers.iter().map(|(_, members)| ids(members)).collect();
    ensure!(views.len() <= 1, "control planes know {} different sets of members", views.len());
    Ok(())
}

/// Each control plane is a member, and each member a control plane.
pub(super) async fn etcd_is_control_plane(fleet: &Fleet) -> anyhow::Result<()> {
    let answers = fleet.ask(Which::ControlPlanes, |asked| etcd_members(asked, true)).await?;
    let planes: Vec<&Machine> = answers.iter().map(|(machine, _)| machine).collect();
    let members = answers.first().map(|(_, members)| members.as_slice()).unwrap_or_default();
    same_machines(&planes, members)
}

fn same_machines(planes: &[&Machine], members: &[EtcdMember]) -> anyhow::Result<()> {
    let is = |machine: &Machine, member: &EtcdMember| {
        machine.has_any(&hosts(&member.peer_urls))
            || (!machine.node.is_empty() && machine.node == member.hostname)
    };
    for member in members {
        let known = planes.iter().any(|machine| is(machine, member));
        ensure!(known, "etcd member {} ({:016x}) is no control plane", member.hostname, member.id);
    }
    for machine in planes {
        let known = members.iter().any(|member| is(machine, member));
        ensure!(known, "control plane {} is no etcd member", machine.label());
    }
    Ok(())
}

fn hosts(urls: &[String]) -> Vec<IpAddr> {
    let address = |url: &String| url.split_once("://")?.1.trim_end_matches('/').parse::<SocketAddr>().ok();
    urls.iter().filter_map(address).map(|address| address.ip()).collect()
}

#[cfg(test)]
mod tests {
    use corten_api::machine::ServiceHealth;

    use super::*;

    fn service(state: &str, unknown: bool, healthy: bool) -> ServiceInfo {
        let health = ServiceHealth { unknown, healthy, last_message: "no leader".into(), ..<_>::default() };
        ServiceInfo { id: "etcd".into(), state: state.into(), health: Some(health), ..<_>::default() }
    }

    #[test]
    fn a_service_is_healthy_when_it_runs_and_says_so() {
        let verdict =
            |service: Option<ServiceInfo>| healthy("etcd", service.as_ref()).map_err(|it| it.to_string());
        assert_eq!(verdict(Some(service("Running", false, true))), Ok(()));
        assert_eq!(
            verdict(Some(service("Running", false, false))),
            Err("service etcd is not healthy: no leader".into())
        );
        assert!(verdict(Some(service("Running", true, false))).is_err());
        assert!(verdict(Some(service("Waiting", true, false))).is_err());
        assert_eq!(verdict(None), Err("there is no service etcd".into()));
    }

    #[test]
    fn members_and_control_planes_are_the_same_machines() {
        let machine = |address: &str| Machine {
            addresses: vec![address.parse().expect("an address")],
            is_control_plane: true,
            ..Machine::default()
        };
        let member = |url: &str| EtcdMember { peer_urls: vec![url.into()], ..EtcdMember::default() };
        let (a, b) = (machine("10.0.0.1"), machine("fd00::2"));
        let members = [member("https://10.0.0.1:2380"), member("https://[fd00::2]:2380")];
        assert!(same_machines(&[&a, &b], &members).is_ok());
        assert!(same_machines(&[&a], &members).is_err());
        assert!(same_machines(&[&a, &b], &members[..1]).is_err());
    }

    #[test]
    fn a_static_pod_is_ready_when_the_kubelet_says_so() {
        let Value::Object(pod) = json!({"metadata": {"name": "kube-scheduler", "namespace": "kube-system"}})
        else {
            unreachable!("an object")
        };
        let pod = Resource::new("kube-scheduler", StaticPod { pod });
        let status = |id: &str, ready: &str| {
            let Value::Object(pod_status) = json!({"conditions": [{"type": "Ready", "status": ready}]})
            else {
                unreachable!("an object")
            };
            Resource::new(id, StaticPodStatus { pod_status })
        };
        assert!(is_ready(&pod, &status("kube-system/kube-scheduler-cp-1", "True")));
        assert!(!is_ready(&pod, &status("kube-system/kube-scheduler-cp-1", "False")));
        assert!(!is_ready(&pod, &status("kube-system/kube-apiserver-cp-1", "True")));
    }
}
