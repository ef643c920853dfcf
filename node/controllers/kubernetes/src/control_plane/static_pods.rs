//! Renders the control plane's pods once what they need is there, in the order in which they can work.
//!
//!     intents, file versions, etcd's health ──▶ kube-apiserver ──▶ (ready) ──▶ kube-controller-manager, kube-scheduler
//!
//! Order matters for the start: a controller manager without an API server gives up after half a minute, and all components starting at once
//! take the longest. Once started, a pod stays: a moment of bad health must not take the control plane down.

use corten_resource::{Plan, Resource, Transform, View, controller};
use corten_resources::etcd::EtcdEntry;
use corten_resources::kubernetes::{
    ApiServerConfig, ApiServerStatus, ConfigStatus, ControllerManagerConfig, SchedulerConfig, SecretStatus,
    StaticPod,
};
use corten_resources::secrets::KubernetesRoot;
use corten_resources::service::Service;

use super::pods::{Component, Versions, pod};
use super::{API_SERVER, CONTROLLER_MANAGER, SCHEDULER, api_server, controller_manager, scheduler};
use crate::arguments::Refused;
use crate::etcd;

/// See the module.
pub struct ControlPlanePods;

controller!(ControlPlanePods, "k8s.ControlPlaneStaticPods",
    inputs: [
        strong ApiServerConfig, strong ControllerManagerConfig, strong SchedulerConfig,
        strong ConfigStatus, strong SecretStatus, strong KubernetesRoot, weak ApiServerStatus, weak Service, weak StaticPod, weak EtcdEntry,
    ],
    outputs: [shared StaticPod, shared ApiServerConfig, shared ControllerManagerConfig, shared SchedulerConfig]);

/// Everything a pod is rendered from.
struct Inputs<'a> {
    api_server: &'a Resource<ApiServerConfig>,
    controller_manager: &'a Resource<ControllerManagerConfig>,
    scheduler: &'a Resource<SchedulerConfig>,
    root: &'a KubernetesRoot,
    secrets: &'a str,
    config_files: &'a str,
}

impl<'a> Inputs<'a> {
    fn of(view: &'a View<ControlPlanePods>) -> Option<Self> {
        Some(Self {
            api_server: view.get(ApiServerConfig::ID)?,
            controller_manager: view.get(ControllerManagerConfig::ID)?,
            scheduler: view.get(SchedulerConfig::ID)?,
            root: &view.get::<KubernetesRoot>(KubernetesRoot::ID)?.spec,
            secrets: &view.get::<SecretStatus>(SecretStatus::ID).filter(|status| status.ready)?.spec.version,
            config_files: &view
                .get::<ConfigStatus>(ConfigStatus::ID)
                .filter(|status| status.ready)?
                .spec
                .version,
        })
    }

    fn versions(&self, config: u64) -> Versions {
        Versions {
            config: config.to_string(),
            secrets: self.secrets.to_owned(),
            config_files: self.config_files.to_owned(),
        }
    }
}

impl Transform for ControlPlanePods {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(inputs) = Inputs::of(view) else {
            return plan.waiting("configuration and files of the control plane");
        };
        let is_started = |name: &str| view.get::<StaticPod>(name).is_some();
        let etcd_healthy = view.get::<Service>(etcd::SERVICE).is_some_and(|service| service.healthy);
        // What a cluster holds that was not founded for good is thrown away.
        let is_founding = view.get::<EtcdEntry>(EtcdEntry::ID).is_some_and(|entry| entry.founding);
        if (!etcd_healthy || is_founding) && !is_started(API_SERVER) {
            return plan.waiting("etcd to be healthy");
        }
        if let Err(refused) = put_api_server(&mut plan, &inputs) {
            return plan.failed(refused.to_string());
        }
        let is_ready = view.get::<ApiServerStatus>(ApiServerStatus::ID).is_some_and(|status| status.ready);
        let mut waits = false;
        for (name, is_enabled, put) in [
            (CONTROLLER_MANAGER, inputs.controller_manager.enabled, put_controller_manager as Put),
            (SCHEDULER, inputs.scheduler.enabled, put_scheduler as Put),
        ] {
            if !is_enabled {
                continue;
            }
            if !is_ready && !is_started(name) {
                waits = true;
            } else if let Err(refused) = put(&mut plan, &inputs) {
                return plan.failed(refused.to_string());
            }
        }
        if waits { plan.waiting("kube-apiserver to be ready") } else { plan }
    }
}

type Put = fn(&mut Plan<ControlPlanePods>, &Inputs<'_>) -> Result<(), Refused>;

fn put_api_server(plan: &mut Plan<ControlPlanePods>, inputs: &Inputs<'_>) -> Result<(), Refused> {
    let config = &inputs.api_server.spec;
    let command = api_server::arguments(config, inputs.root)?;
    plan.put(ApiServerConfig::FINAL_ID, ApiServerConfig { args: command.clone(), ..config.clone() });
    let object = pod(&Component {
        name: API_SERVER,
        image: &config.image,
        command,
        environment: &config.environment_variables,
        volumes: &config.extra_volumes,
        resources: &config.resources,
        port: config.local_port,
        startup_probe: config.startup_probes_enabled,
        versions: inputs.versions(inputs.api_server.metadata.version),
    });
    plan.put(API_SERVER, StaticPod { pod: object });
    Ok(())
}

fn put_controller_manager(plan: &mut Plan<ControlPlanePods>, inputs: &Inputs<'_>) -> Result<(), Refused> {
    let config = &inputs.controller_manager.spec;
    let command = controller_manager::arguments(config)?;
    plan.put(
        ControllerManagerConfig::FINAL_ID,
        ControllerManagerConfig { args: command.clone(), ..config.clone() },
    );
    let object = pod(&Component {
        name: CONTROLLER_MANAGER,
        image: &config.image,
        command,
        environment: &config.environment_variables,
        volumes: &config.extra_volumes,
        resources: &config.resources,
        port: 10_257,
        startup_probe: true,
        versions: inputs.versions(inputs.controller_manager.metadata.version),
    });
    plan.put(CONTROLLER_MANAGER, StaticPod { pod: object });
    Ok(())
}

fn put_scheduler(plan: &mut Plan<ControlPlanePods>, inputs: &Inputs<'_>) -> Result<(), Refused> {
    let config = &inputs.scheduler.spec;
    let command = scheduler::arguments(config)?;
    plan.put(SchedulerConfig::FINAL_ID, SchedulerConfig { args: command.clone(), ..config.clone() });
    let object = pod(&Component {
        name: SCHEDULER,
        image: &config.image,
        command,
        environment: &config.environment_variables,
        volumes: &config.extra_volumes,
        resources: &config.resources,
        port: 10_259,
        startup_probe: true,
        versions: inputs.versions(inputs.scheduler.metadata.version),
    });
    plan.put(SCHEDULER, StaticPod { pod: object });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use corten_resource::AnyResource;
    use corten_resource::testing::resource;

    use super::*;

    fn inputs() -> Vec<AnyResource> {
        let image = |name: &str| format!("registry.k8s.io/{name}:v1.36.3");
        let root = KubernetesRoot { secretbox_encryption_secret: "key".into(), ..KubernetesRoot::default() };
        vec![
            resource(
                ApiServerConfig::ID,
                ApiServerConfig {
                    image: image(API_SERVER),
                    control_plane_endpoint: "https://10.5.0.2:6443".into(),
                    etcd_servers: vec!["https://127.0.0.1:2379".into()],
                    local_port: 6443,
                    service_cidrs: vec!["10.96.0.0/12".into()],
                    advertised_address: "$(POD_IP)".into(),
                    startup_probes_enabled: true,
                    use_authentication_config: true,
                    ..ApiServerConfig::default()
                },
            ),
            resource(
                ControllerManagerConfig::ID,
                ControllerManagerConfig {
                    enabled: true,
                    image: image(CONTROLLER_MANAGER),
                    pod_cidrs: vec!["10.244.0.0/16".into()],
                    service_cidrs: vec!["10.96.0.0/12".into()],
                    ..ControllerManagerConfig::default()
                },
            ),
            resource(
                SchedulerConfig::ID,
                SchedulerConfig { enabled: true, image: image(SCHEDULER), ..SchedulerConfig::default() },
            ),
            resource(ConfigStatus::ID, ConfigStatus { ready: true, version: "c1".into() }),
            resource(SecretStatus::ID, SecretStatus { ready: true, version: "s1".into() }),
            resource(KubernetesRoot::ID, root),
        ]
    }

    fn etcd_is(healthy: bool) -> AnyResource {
        resource(etcd::SERVICE, Service { running: true, healthy, unknown: false })
    }

    fn api_server_is(ready: bool) -> AnyResource {
        resource(ApiServerStatus::ID, ApiServerStatus { ready })
    }

    fn pods(more: Vec<AnyResource>) -> Vec<String> {
        let plan = ControlPlanePods.plan(&View::of(inputs().into_iter().chain(more), SystemTime::UNIX_EPOCH));
        plan.outputs::<StaticPod>().iter().map(|pod| pod.id().to_owned()).collect()
    }

    #[test]
    fn components_start_in_the_order_in_which_they_can_work() {
        assert_eq!(pods(vec![etcd_is(false)]), Vec::<String>::new());
        let founding = resource(EtcdEntry::ID, EtcdEntry { founding: true, ..EtcdEntry::default() });
        assert_eq!(pods(vec![etcd_is(true), founding]), Vec::<String>::new());
        assert_eq!(pods(vec![etcd_is(true)]), [API_SERVER]);
        assert_eq!(pods(vec![etcd_is(true), api_server_is(false)]), [API_SERVER]);
        assert_eq!(
            pods(vec![etcd_is(true), api_server_is(true)]),
            [API_SERVER, CONTROLLER_MANAGER, SCHEDULER]
        );
    }

    #[test]
    fn what_was_started_stays() {
        let started = |name: &str| resource(name, StaticPod::default());
        let all = [API_SERVER, CONTROLLER_MANAGER, SCHEDULER];
        let mut present: Vec<AnyResource> = all.iter().map(|name| started(name)).collect();
        present.extend([etcd_is(false), api_server_is(false)]);
        assert_eq!(pods(present), all);
    }

    #[test]
    fn the_api_server_may_do_without_a_startup_probe() {
        let probed = |startup_probes_enabled| {
            let config = ApiServerConfig { startup_probes_enabled, ..ApiServerConfig::default() };
            let others =
                inputs().into_iter().skip(1).chain([etcd_is(true), resource(ApiServerConfig::ID, config)]);
            let plan = ControlPlanePods.plan(&View::of(others, SystemTime::UNIX_EPOCH));
            let pods = plan.outputs::<StaticPod>();
            let container = &pods[0].pod["spec"]["containers"][0];
            (container.get("startupProbe").is_some(), container.get("livenessProbe").is_some())
        };
        assert_eq!((probed(true), probed(false)), ((true, true), (false, true)));
    }

    #[test]
    fn pods_are_rendered_as_in_the_golden_files() {
        let more = [etcd_is(true), api_server_is(true)];
        let plan = ControlPlanePods.plan(&View::of(inputs().into_iter().chain(more), SystemTime::UNIX_EPOCH));
        for pod in plan.outputs::<StaticPod>() {
            let text = serde_json::to_string_pretty(&pod.pod).expect("JSON") + "\n";
            crate::golden::check(&format!("{}.json", pod.id()), &text);
        }
    }
}
