//! Notices when the kubelet has an identity, and when it changed.
//!
//!     kubeconfig-kubelet, its certificate ──▶ KubeletKubeconfig ──▶ clients of the API server on workers

use std::time::Duration;

use corten_resource::{Driver, Never, Plan, View, controller};
use corten_resources::kubernetes::KubeletKubeconfig;
use corten_resources::service::Service;
use sha2::{Digest as _, Sha256};

use super::{CLIENT_CERTIFICATE, KUBECONFIG, SERVICE};
use crate::files::Disk;

/// How often the files are looked at, before and after they were there.
const MISSING: Duration = Duration::from_secs(1);
const PRESENT: Duration = Duration::from_secs(60);

/// See the module.
pub struct KubeletIdentity {
    disk: Disk,
}

impl KubeletIdentity {
    /// A controller that looks at `disk`.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { disk }
    }
}

controller!(KubeletIdentity, "k8s.KubeletKubeconfig", inputs: [weak Service], outputs: [exclusive KubeletKubeconfig]);

impl Driver for KubeletIdentity {
    type Observed = Option<String>;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Option<String>> {
        let read = |path: &str| std::fs::read(self.disk.path(path)).ok();
        let files = read(KUBECONFIG).zip(read(CLIENT_CERTIFICATE));
        Ok(files.map(|(kubeconfig, certificate)| {
            hex::encode(Sha256::new().chain_update(kubeconfig).chain_update(certificate).finalize())
        }))
    }

    fn plan(&self, view: &View<Self>, hash: &Option<String>) -> Plan<Self> {
        let mut plan = Plan::new();
        match hash {
            Some(hash) => {
                plan.put(KubeletKubeconfig::ID, KubeletKubeconfig { hash: hash.clone() });
                plan.again_in(PRESENT)
            }
            None if view.get::<Service>(SERVICE).is_some() => {
                plan.waiting("the kubelet's identity").again_in(MISSING)
            }
            None => plan.waiting("the kubelet"),
        }
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}
