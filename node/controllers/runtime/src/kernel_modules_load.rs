//! Loads modules and reports what the kernel has.
//!
//!     KernelModuleSpec ──▶ kernel ──▶ KernelModuleStatus, and LoadedKernelModule for clients that know the older name

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::runtime::{KernelModuleSpec, KernelModuleStatus, LoadedKernelModule};
use corten_sys::Kernel;
use corten_sys::modules::{ModuleIndex, load};

use crate::kernel_modules::{LAST_WORDS, LINK};

const DEADLINE: Duration = Duration::from_secs(60);

/// Loader of modules.
pub struct KernelModulesLoad {
    /// Modules that need no loading: built in, or loaded before and renamed by the kernel.
    done: Vec<String>,
}

controller!(KernelModulesLoad, "runtime.KernelModuleLoad",
    inputs: [weak KernelModuleSpec],
    outputs: [exclusive KernelModuleStatus, exclusive LoadedKernelModule]);

impl KernelModulesLoad {
    /// Nothing loaded yet.
    pub const fn new() -> Self {
        Self { done: Vec::new() }
    }
}

/// Modules by name, as the kernel lists them.
type Modules = BTreeMap<String, KernelModuleStatus>;

impl Driver for KernelModulesLoad {
    type Observed = Modules;
    type Op = KernelModuleSpec;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Modules> {
        Ok(parse(&std::fs::read_to_string("/proc/modules").context("cannot list modules")?))
    }

    fn plan(&self, view: &View<Self>, observed: &Modules) -> Plan<Self, KernelModuleSpec> {
        let mut plan = Plan::new();
        for spec in view.list::<KernelModuleSpec>() {
            let known = observed.contains_key(&spec.spec.name.replace('-', "_"))
                || self.done.contains(&spec.spec.name);
            if !known {
                plan.op(spec.spec.clone());
            }
        }
        for (name, status) in observed {
            plan.put(name, loaded(status)).put(name, status.clone());
        }
        plan
    }

    async fn apply(&mut self, op: KernelModuleSpec) -> anyhow::Result<()> {
        let name = op.name.clone();
        let parameters = op.parameters.join(" ");
        let work = move || {
            let index =
                ModuleIndex::read(&Path::new("/lib/modules").join(corten_sys::sysctl::kernel_release()))?;
            load(&Kernel, &index, &op.name, &parameters).map(drop)
        };
        match blocking(DEADLINE, work).await? {
            Err(error) if error.kind() == ErrorKind::NotFound && LINK.contains(&name.as_str()) => {
                tracing::info!(
                    module = name,
                    "the kernel has no such module; the link to the manager does without"
                );
            }
            // Also refused where there is no firmware with variables.
            Err(error) if LAST_WORDS.contains(&name.as_str()) => {
                let why = corten_base::chain(&error);
                tracing::info!(module = name, why, "the kernel's last words are not kept by the firmware");
            }
            loaded => loaded.with_context(|| format!("cannot load the kernel module {name}"))?,
        }
        self.done.push(name);
        Ok(())
    }
}

/// The same under the older name.
fn loaded(status: &KernelModuleStatus) -> LoadedKernelModule {
    LoadedKernelModule {
        size: status.size,
        reference_count: status.reference_count,
        dependencies: status.dependencies.clone(),
        state: status.state.clone(),
        address: status.address.clone(),
    }
}

/// `/proc/modules`: name, size, users, names of users, state, address.
fn parse(table: &str) -> Modules {
    table
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let users = words.get(3)?.split(',').filter(|user| !user.is_empty() && *user != "-");
            let status = KernelModuleStatus {
                kind: "dynamic".to_owned(),
                size: words.get(1)?.parse().ok()?,
                reference_count: words.get(2)?.parse().ok()?,
                dependencies: users.map(str::to_owned).collect(),
                state: (*words.get(4)?).to_owned(),
                address: "0x0000000000000000".to_owned(),
            };
            Some(((*words.first()?).to_owned(), status))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let modules =
            parse("xfs 2093056 2 - Live 0x0\nlibcrc32c 12288 2 xfs,nf_conntrack, Live 0x0\nbroken\n");
        assert_eq!(modules.len(), 2);
        assert_eq!(modules["libcrc32c"].dependencies, ["xfs", "nf_conntrack"]);
        assert_eq!(modules["xfs"].reference_count, 2);
    }

    #[test]
    fn any_table_of_modules_is_read() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            assert!(parse(&text).len() <= text.lines().count());
        });
    }
}
