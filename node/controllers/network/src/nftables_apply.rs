//! Programs the firewall's chains into the kernel.
//!
//! ```text
//! NfTablesChain ──▶ table `inet talos` of nftables, as a whole   (read back: what the kernel has is compared each time)
//! ```
//! The table is this program's alone; other tables, such as those of kube-proxy, are never touched.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use corten_base::blocking;
use corten_resource::{Driver, Plan, Source, View, controller};
use corten_resources::network::NfTablesChain;
use corten_sys::nftables::{self, Programmed, Table};

use crate::nftables_rules;

/// The name that tools for Talos know.
const TABLE: &str = "talos";
/// The kernel answers at once; a transaction may wait for others.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often somebody else's change is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Chains of the table; nothing if there is no table.
pub type Chains = Option<BTreeMap<String, Programmed>>;

/// What this program may do to the kernel's table. Implemented for the real kernel and by a fake for tests.
pub trait Tables: Send + Sync {
    /// The chains of the table that is called so.
    ///
    /// # Errors
    /// When the kernel refuses, or has no nftables.
    fn read(&self, table: &'static str) -> impl Future<Output = anyhow::Result<Chains>> + Send;

    /// Puts a table in the place of that of its name.
    ///
    /// # Errors
    /// When the kernel refuses; nothing has changed then.
    fn replace(&self, table: Table) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// nftables of the network namespace that this program is in.
#[derive(Clone, Copy, Debug)]
pub struct KernelTables;

impl Tables for KernelTables {
    async fn read(&self, table: &'static str) -> anyhow::Result<Chains> {
        Ok(blocking(DEADLINE, move || nftables::read(table)).await??)
    }

    async fn replace(&self, table: Table) -> anyhow::Result<()> {
        Ok(blocking(DEADLINE, move || nftables::replace(&table)).await??)
    }
}

/// Programs chains.
#[derive(Debug)]
pub struct NftablesApply<K> {
    kernel: K,
}

controller!(impl<K: Tables + 'static> NftablesApply<K>, "network.NftablesApply",
    inputs: [weak NfTablesChain],
    outputs: []);

impl<K> NftablesApply<K> {
    /// A controller over `kernel`.
    #[must_use]
    pub const fn new(kernel: K) -> Self {
        Self { kernel }
    }
}

impl<K: Tables + 'static> Driver for NftablesApply<K> {
    type Observed = Chains;
    type Op = Table;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Chains> {
        match self.kernel.read(TABLE).await {
            // A kernel without nftables lacks nothing as long as nobody wants a firewall.
            Err(_) if view.list::<NfTablesChain>().is_empty() => Ok(None),
            result => result.context("failed to read the firewall"),
        }
    }

    fn plan(&self, view: &View<Self>, chains: &Chains) -> Plan<Self, Table> {
        let mut plan = Plan::new();
        let mut table = Table { name: TABLE.to_owned(), ..Table::default() };
        for row in view.list::<NfTablesChain>() {
            match nftables_rules::chain(&row.spec) {
                Ok(chain) => {
                    table.chains.insert(row.metadata.id.clone(), chain);
                }
                Err(why) => return plan.failed(format!("chain {}: {why}", row.metadata.id)),
            }
        }
        let programmed = table.chains.iter().map(|(name, chain)| (name.clone(), chain.programmed()));
        let wanted: Chains = (!table.chains.is_empty()).then(|| programmed.collect());
        if *chains != wanted {
            plan.op(table);
        }
        plan
    }

    async fn apply(&mut self, table: Table) -> anyhow::Result<()> {
        self.kernel.replace(table).await.context("failed to program the firewall")
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::interval("changes of others", LOOK_AGAIN)]
    }
}

#[cfg(test)]
pub(crate) mod tests;
