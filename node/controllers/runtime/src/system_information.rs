//! The machine's hardware as its firmware describes it.
//!
//!     SMBIOS tables ──▶ SystemInformation, Processors, MemoryModules
//!     META 0x0f ──▶ UUID of SystemInformation
//!
//! A UUID in META takes the place of the firmware's: a manager writes one there when two machines have the same. The
//! tables of a machine of a host are its host's, whose UUID it does not take.

use corten_resource::{Driver, Never, Plan, View, controller};
use corten_resources::hardware::{MemoryModule, Processor, SystemInformation};
use corten_resources::runtime::MetaKey;
use corten_resources::siderolink::UniqueMachineToken;

use crate::smbios::{self, Tables};

const TABLE: &str = "/sys/firmware/dmi/tables/DMI";
/// Id of the only system information.
const SYSTEM: &str = "systeminformation";

/// Reader of the firmware's tables.
pub struct SmbiosTables {
    /// The firmware is this machine's.
    pub own_firmware: bool,
}

controller!(SmbiosTables, "hardware.SystemInformation",
    inputs: [weak MetaKey],
    outputs: [exclusive SystemInformation, exclusive Processor, exclusive MemoryModule]);

impl Driver for SmbiosTables {
    type Observed = Option<Tables>;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Option<Tables>> {
        Ok(std::fs::read(TABLE).ok().map(|table| smbios::parse(&table)))
    }

    fn plan(&self, view: &View<Self>, observed: &Option<Tables>) -> Plan<Self> {
        let mut plan = Plan::new();
        let replaced = view.get::<MetaKey>(UniqueMachineToken::UUID_META_KEY);
        let replaced = replaced.map(|key| key.spec.value.clone()).filter(|uuid| !uuid.is_empty());
        if observed.is_none() && replaced.is_none() {
            return plan;
        }
        let mut system = observed.as_ref().map(|tables| tables.system.clone()).unwrap_or_default();
        if !self.own_firmware {
            system.uuid.clear();
        }
        system.uuid = replaced.unwrap_or(system.uuid);
        plan.put(SYSTEM, system);
        let Some(tables) = observed else { return plan };
        for (index, processor) in tables.processors.iter().enumerate() {
            plan.put(format!("CPU-{index}"), processor.clone());
        }
        for (index, module) in tables.memory.iter().enumerate() {
            plan.put(format!("DIMM-{index}"), module.clone());
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;

    use super::*;

    /// The UUID with this one in META, on a machine whose tables say `firmware`.
    fn uuid(own_firmware: bool, tables: bool, meta: Option<&str>) -> Option<String> {
        let system = SystemInformation { uuid: "firmware".into(), ..SystemInformation::default() };
        let tables = tables.then(|| Tables { system, ..Tables::default() });
        let key =
            |value: &str| resource(UniqueMachineToken::UUID_META_KEY, MetaKey { value: value.to_owned() });
        let view = View::of(meta.map(key), UNIX_EPOCH);
        let plan = SmbiosTables { own_firmware }.plan(&view, &tables);
        plan.output::<SystemInformation>(SYSTEM).map(|system| system.uuid.clone())
    }

    #[test]
    fn a_uuid_in_meta_takes_the_place_of_the_firmwares() {
        assert_eq!(uuid(true, true, None).as_deref(), Some("firmware"));
        assert_eq!(uuid(true, true, Some("")).as_deref(), Some("firmware"));
        assert_eq!(uuid(true, true, Some("meta")).as_deref(), Some("meta"));
        assert_eq!(uuid(true, false, Some("meta")).as_deref(), Some("meta"));
        assert_eq!(uuid(true, false, None), None);
    }

    #[test]
    fn a_machine_of_a_host_does_not_take_its_hosts_uuid() {
        assert_eq!(uuid(false, true, None).as_deref(), Some(""));
        assert_eq!(uuid(false, true, Some("meta")).as_deref(), Some("meta"));
    }
}
