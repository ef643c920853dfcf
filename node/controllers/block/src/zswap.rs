//! Compressed memory in front of swap.
//!
//!     MachineConfig ──▶ kernel ──▶ ZswapStatus

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_config::load_cached;
use corten_resource::{Driver, Plan, Source, View, controller};
use corten_resources::block::ZswapStatus;
use corten_resources::config::MachineConfig;

use crate::pretty;
use crate::sysfs::{number, text};

const DEADLINE: Duration = Duration::from_secs(10);
/// Counters change without an event.
const INTERVAL: Duration = Duration::from_secs(30);

/// Where the kernel is; only tests have it elsewhere.
#[derive(Clone, Debug)]
pub struct Places {
    /// Folder of the parameters.
    pub parameters: PathBuf,
    /// Folder of the counters.
    pub counters: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { parameters: "/sys/module/zswap/parameters".into(), counters: "/sys/kernel/debug/zswap".into() }
    }
}

/// Switches compressed memory as the configuration says, and counts.
pub struct Zswap {
    places: Places,
}

controller!(Zswap, "block.Zswap", inputs: [weak MachineConfig], outputs: [exclusive ZswapStatus]);

impl Zswap {
    /// Of the kernel that is there.
    pub const fn new(places: Places) -> Self {
        Self { places }
    }
}

/// What the kernel shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// It knows compressed memory.
    is_known: bool,
    /// It is on.
    is_enabled: bool,
    pool_percent_max: Option<u64>,
    shrinker: String,
    status: Option<ZswapStatus>,
}

/// Write a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    name: &'static str,
    value: String,
}

impl Driver for Zswap {
    type Observed = Seen;
    type Op = Set;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Seen> {
        let places = self.places.clone();
        Ok(blocking(DEADLINE, move || look(&places)).await?)
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Set> {
        let mut plan = Plan::new();
        if let Some(status) = seen.status.as_ref().filter(|_| seen.is_enabled) {
            plan.put(ZswapStatus::ID, status.clone());
        }
        let config = view.get::<MachineConfig>(MachineConfig::ACTIVE);
        let config = config.and_then(|config| load_cached(&config.spec.yaml).ok());
        let Some(wish) = config.and_then(|config| config.view().storage.zswap) else { return plan };
        if !seen.is_known {
            return plan.failed("the kernel knows no compressed swap; remove ZswapConfig");
        }
        if seen.pool_percent_max != Some(u64::from(wish.pool_percent_max)) {
            plan.op(Set { name: "max_pool_percent", value: wish.pool_percent_max.to_string() });
        }
        // Older kernels have no shrinker.
        let shrinker = if wish.shrinker { "Y" } else { "N" };
        if !seen.shrinker.is_empty() && seen.shrinker != shrinker {
            plan.op(Set { name: "shrinker_enabled", value: shrinker.to_owned() });
        }
        if !seen.is_enabled {
            plan.op(Set { name: "enabled", value: "Y".to_owned() });
        }
        plan
    }

    async fn apply(&mut self, op: Set) -> anyhow::Result<()> {
        let path = self.places.parameters.join(op.name);
        let text = format!("cannot set {} of zswap to {}", op.name, op.value);
        blocking(DEADLINE, move || write(&path, &op.value)).await?.context(text)
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::interval("compressed swap", INTERVAL)]
    }
}

/// Opened without creating: the kernel has the file or there is no such parameter.
fn write(path: &Path, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path)?;
    io::Write::write_all(&mut file, value.as_bytes())
}

fn look(places: &Places) -> Seen {
    let parameter = |name: &str| text(&places.parameters.join(name));
    let counter = |name: &str| number(&places.counters.join(name));
    let status = counter("stored_pages").map(|stored_pages| {
        let count = |name: &str| counter(name).unwrap_or(0);
        let total_size = count("pool_total_size");
        ZswapStatus {
            total_size,
            total_size_human: pretty::size(total_size),
            stored_pages,
            pool_limit_hit: count("pool_limit_hit"),
            reject_reclaim_fail: count("reject_reclaim_fail"),
            reject_alloc_fail: count("reject_alloc_fail"),
            reject_kmemcache_fail: count("reject_kmemcache_fail"),
            reject_compress_fail: count("reject_compress_fail"),
            reject_compress_poor: count("reject_compress_poor"),
            written_back_pages: count("written_back_pages"),
        }
    });
    Seen {
        is_known: places.parameters.join("enabled").exists(),
        is_enabled: parameter("enabled") == "Y",
        pool_percent_max: parameter("max_pool_percent").parse().ok(),
        shrinker: parameter("shrinker_enabled"),
        status,
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_kernel_is_set_as_the_configuration_says_and_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let places =
            Places { parameters: folder.path().join("parameters"), counters: folder.path().join("counters") };
        for path in [&places.parameters, &places.counters] {
            fs::create_dir_all(path).expect("a folder");
        }
        for (name, text) in [("enabled", "N"), ("max_pool_percent", "20"), ("shrinker_enabled", "N")] {
            fs::write(places.parameters.join(name), text).expect("a parameter");
        }
        fs::write(places.counters.join("stored_pages"), "7").expect("a counter");
        let of = places.clone();
        let runtime = TestRuntime::new(corten_resources::registry(), move |runtime| {
            runtime.register(Zswap::new(of));
        });
        let yaml = b"apiVersion: v1alpha1\nkind: ZswapConfig\nmaxPoolPercent: 25\n".to_vec();
        runtime.put(resource(MachineConfig::ACTIVE, MachineConfig { yaml }));
        while runtime.state().get::<ZswapStatus>(ZswapStatus::ID).is_none() {
            runtime.advance(Duration::from_millis(100)).await;
        }
        let parameter = |name: &str| text(&places.parameters.join(name));
        assert_eq!(["enabled", "max_pool_percent", "shrinker_enabled"].map(parameter), ["Y", "25", "Y"]);
        let status = runtime.state().get::<ZswapStatus>(ZswapStatus::ID).expect("a status").spec;
        assert_eq!(status.stored_pages, 7);
    }
}
