//! Physical links as their drivers tell.
//!
//! ```text
//! LinkStatus, LinkRefresh, kernel ──▶ EthernetStatus
//! ```

use std::collections::BTreeMap;

use corten_resource::{Driver, Never, Plan, View, controller};
use corten_resources::network::{EthernetStatus, LinkRefresh, LinkStatus};

use crate::kernel_ethernet::{EthernetDevices, status};

/// Publishes settings of devices.
#[derive(Debug)]
pub struct EthernetPublish<K> {
    kernel: K,
}

controller!(impl<K: EthernetDevices + 'static> EthernetPublish<K>, "network.EthernetPublish",
    inputs: [weak LinkStatus, weak LinkRefresh],
    outputs: [exclusive EthernetStatus]);

impl<K> EthernetPublish<K> {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: K) -> Self {
        Self { kernel }
    }
}

/// A device as it is, or why it cannot be read.
type Read = Result<EthernetStatus, String>;

impl<K: EthernetDevices + 'static> Driver for EthernetPublish<K> {
    type Observed = BTreeMap<String, Read>;
    type Op = Never;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Self::Observed> {
        let mut devices = BTreeMap::new();
        for link in view.list::<LinkStatus>().into_iter().filter(|link| link.spec.is_physical()) {
            let name = &link.metadata.id;
            let device = self.kernel.ethernet(name).await;
            let read = device.map(|device| status(&device)).map_err(|error| format!("{error:#}"));
            devices.insert(name.clone(), read);
        }
        Ok(devices)
    }

    fn plan(&self, _: &View<Self>, devices: &Self::Observed) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        for (name, read) in devices {
            match read {
                Ok(status) => plan.put::<EthernetStatus>(name, status.clone()),
                Err(why) => plan.missing(why),
            };
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}
