//! The machine's hardware as its firmware describes it.
//!
//!     SMBIOS tables ──▶ SystemInformation, Processors, MemoryModules

use corten_resource::{Driver, Never, Plan, View, controller};
use corten_resources::hardware::{MemoryModule, Processor, SystemInformation};

use crate::smbios::{self, Tables};

const TABLE: &str = "/sys/firmware/dmi/tables/DMI";

/// Reader of the firmware's tables.
pub struct SmbiosTables;

controller!(SmbiosTables, "hardware.SystemInformation",
    inputs: [],
    outputs: [exclusive SystemInformation, exclusive Processor, exclusive MemoryModule]);

impl Driver for SmbiosTables {
    type Observed = Option<Tables>;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Option<Tables>> {
        Ok(std::fs::read(TABLE).ok().map(|table| smbios::parse(&table)))
    }

    fn plan(&self, _: &View<Self>, observed: &Option<Tables>) -> Plan<Self> {
        let Some(tables) = observed else { return Plan::new() };
        let mut plan = Plan::new();
        plan.put("systeminformation", tables.system.clone());
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
