//! `health --server=false`: asks every machine itself.

use std::collections::BTreeSet;
use std::time::Duration;

use corten_api::machine::EtcdMemberListRequest;
use corten_client::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::connect::{Node, only};
use crate::context::Cx;
use crate::failure::Cause;
use crate::resources;

const POLL: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// kube-apiserver, kube-controller-manager, kube-scheduler.
const CONTROL_PLANE_PODS: usize = 3;

/// The machines of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Control planes.
    pub control_planes: Vec<String>,
    /// Workers.
    pub workers: Vec<String>,
}

/// What must hold, in this order.
#[derive(Clone, Copy, Debug)]
enum Check {
    Api,
    Ready,
    Services,
    Etcd,
    ControlPlane,
    Nodes,
}

impl Check {
    const ALL: [Self; 6] =
        [Self::Api, Self::Ready, Self::Services, Self::Etcd, Self::ControlPlane, Self::Nodes];

    fn name(self) -> &'static str {
        match self {
            Self::Api => "all machines to answer",
            Self::Ready => "all machines to be running and ready",
            Self::Services => "all services to be healthy",
            Self::Etcd => "etcd members to be the control planes on each of them",
            Self::ControlPlane => "control plane pods to be ready",
            Self::Nodes => "Kubernetes nodes to be ready",
        }
    }

    fn is_for(self, is_control_plane: bool) -> bool {
        is_control_plane || !matches!(self, Self::Etcd | Self::ControlPlane)
    }

    async fn run(self, client: &Client, control_planes: usize) -> Result<(), Cause> {
        match self {
            Self::Api => Ok(client.machine().version(()).await.map(drop)?),
            Self::Ready => {
                let status =
                    resources::get(client, "runtime", "MachineStatuses.runtime.talos.dev", "machine").await?;
                judge_machine(&resources::spec(&status)?)
            }
            Self::Services => {
                let services = only(client.machine().service_list(()).await?)?.services;
                let failing =
                    services.iter().filter(|s| s.health.as_ref().is_some_and(|h| !h.unknown && !h.healthy));
                let failing: Vec<_> = failing.map(|service| service.id.clone()).collect();
                fine(failing.is_empty(), || format!("not healthy: {}", failing.join(", ")))
            }
            Self::Etcd => {
                let request = EtcdMemberListRequest { query_local: true };
                let members = only(client.machine().etcd_member_list(request).await?)?.members;
                let ids: BTreeSet<u64> =
                    members.iter().filter(|member| !member.is_learner).map(|member| member.id).collect();
                let count = ids.len();
                fine(count == control_planes, || {
                    format!("{count} members for {control_planes} control planes")
                })
            }
            Self::ControlPlane => {
                let pods = resources::list(client, "k8s", "StaticPodStatuses.kubernetes.talos.dev").await?;
                let specs = pods.iter().map(resources::spec).collect::<Result<Vec<_>, _>>()?;
                judge_pods(&specs)
            }
            Self::Nodes => {
                let nodes = resources::list(client, "k8s", "NodeStatuses.kubernetes.talos.dev").await?;
                let specs = nodes.iter().map(resources::spec).collect::<Result<Vec<_>, _>>()?;
                let ready = specs.iter().any(|spec| spec["nodeReady"] == true);
                fine(ready, || "the node is not ready".to_owned())
            }
        }
    }
}

fn fine(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Cause> {
    if holds { Ok(()) } else { Err(Cause::new(otherwise())) }
}

fn judge_machine(spec: &Value) -> Result<(), Cause> {
    let unmet = spec["status"]["unmetConditions"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let unmet: Vec<_> = unmet.map(|c| format!("{}: {}", text(&c["name"]), text(&c["reason"]))).collect();
    let stage = text(&spec["stage"]);
    let ready = stage == "running" && spec["status"]["ready"] == true;
    fine(ready, || std::iter::once(format!("stage {stage}")).chain(unmet).collect::<Vec<_>>().join(", "))
}

fn judge_pods(specs: &[Value]) -> Result<(), Cause> {
    let is_ready = |spec: &&Value| {
        let mut conditions = spec["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let ready = specs.iter().filter(is_ready).count();
    fine(ready >= CONTROL_PLANE_PODS && ready == specs.len(), || {
        format!("{ready} of {} pods are ready", specs.len().max(CONTROL_PLANE_PODS))
    })
}

/// Waits for one check after the other on all machines.
pub async fn check(cx: &Cx, through: Node, named: Members, wait: Duration) -> Result<(), Cause> {
    let deadline = Instant::now() + wait;
    let members = if named == Members::default() { discover(&through.client).await? } else { named };
    cx.say(format!(
        "control planes: {}; workers: {}",
        members.control_planes.join(", "),
        members.workers.join(", ")
    ));
    for check in Check::ALL {
        let mut told = None;
        while let Err(cause) = everywhere(check, &through.client, &members).await {
            if Instant::now() >= deadline {
                return Err(Cause { way_out: None, ..cause });
            }
            if told.as_ref() != Some(&cause.lines) {
                cx.say(format!("waiting for {}: {}", check.name(), cause.lines.join("; ")));
                told = Some(cause.lines);
            }
            sleep(POLL).await;
        }
        cx.say(format!("waiting for {}: OK", check.name()));
    }
    Ok(())
}

async fn everywhere(check: Check, client: &Client, members: &Members) -> Result<(), Cause> {
    let control_planes = members.control_planes.iter().map(|name| (name, true));
    let all = control_planes.chain(members.workers.iter().map(|name| (name, false)));
    let calls =
        all.filter(|(_, is_control_plane)| check.is_for(*is_control_plane)).map(|(name, _)| async move {
            let client = client.node(name);
            let answer = timeout(ANSWER_TIMEOUT, check.run(&client, members.control_planes.len())).await;
            let failed = answer.unwrap_or_else(|_| Err(Cause::new("no answer"))).err()?;
            Some(format!("{name}: {}", failed.lines.join(", ")))
        });
    let lines: Vec<String> = futures::future::join_all(calls).await.into_iter().flatten().collect();
    if lines.is_empty() { Ok(()) } else { Err(Cause { lines, way_out: None }) }
}

/// The members that a machine knows of.
async fn discover(client: &Client) -> Result<Members, Cause> {
    let mut members = Members::default();
    for resource in resources::list(client, "cluster", "Members.cluster.talos.dev").await? {
        let spec = resources::spec(&resource)?;
        let Some(address) = spec["addresses"][0].as_str() else { continue };
        let list = if spec["machineType"] == "controlplane" {
            &mut members.control_planes
        } else {
            &mut members.workers
        };
        list.push(address.to_owned());
    }
    if members.control_planes.is_empty() {
        return Err(Cause::new("the machine knows no members")
            .way_out("name them with --control-plane-nodes and --worker-nodes"));
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn machines_and_pods_are_judged_by_what_they_say() {
        let running = json!({"stage": "running", "status": {"ready": true, "unmetConditions": []}});
        assert_eq!(judge_machine(&running), Ok(()));
        let waiting = json!({"stage": "running", "status": {"ready": false, "unmetConditions": [{"name": "services", "reason": "etcd not healthy"}]}});
        assert_eq!(judge_machine(&waiting), Err(Cause::new("stage running, services: etcd not healthy")));
        let pod = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
        assert_eq!(judge_pods(&[pod("True"), pod("True"), pod("True")]), Ok(()));
        assert_eq!(
            judge_pods(&[pod("True"), pod("False"), pod("True")]),
            Err(Cause::new("2 of 3 pods are ready"))
        );
        assert!(judge_pods(&[]).is_err());
    }
}
