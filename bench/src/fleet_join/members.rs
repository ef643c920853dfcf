//! All machines become members of clusters, which is what makes them speak mTLS. Then all lose their power, and join as
//! members: that is a join with mTLS, without the making of a cluster.
//!
//! A cluster of emulated machines lives in one emulator process, so each process has clusters of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use corten_e2e::fleet::template::Template;
use corten_fleet_resources::cluster::ClusterStatus;
use corten_resource::Query;

use super::budget::{Again, Members};
use super::{Bench, LOOK_AT_REST, Spent};
use crate::say;

/// How long clusters may take.
const MEMBERS_MAX: Duration = Duration::from_secs(3600);
/// How long the manager may take to notice that machines are away.
const AWAY_MAX: Duration = Duration::from_secs(900);
/// What handing a template to the manager may take.
const SYNC_MAX: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// Most clusters; each takes a port of the manager.
const CLUSTERS_MAX: usize = 20;
/// Fewest machines of a cluster, unless there are fewer.
const CLUSTER_MIN: usize = 50;

impl Bench<'_> {
    /// All machines become members, and are waited for until every cluster is whole.
    pub(super) fn cluster(&self) -> Result<Members> {
        let machines = self.found.machines();
        let templates = self.templates(machines as usize)?;
        ensure!(
            templates.len() <= CLUSTERS_MAX,
            "{} emulator processes make {} clusters, and the manager has ports for {CLUSTERS_MAX}: give each \
             process more machines",
            self.emulators.len(),
            templates.len()
        );
        say(&format!("{machines} machines become members of {} clusters", templates.len()));
        let (before, began) = (self.spent()?, Instant::now());
        for template in &templates {
            let file = template.write(&self.folder)?.to_string_lossy().into_owned();
            let words = ["cluster", "template", "sync", "--file", file.as_str()];
            self.manager.output(&words, SYNC_MAX)?.success()?;
        }
        let wanted: BTreeMap<&str, usize> =
            templates.iter().map(|template| (template.name.as_str(), template.machines())).collect();
        self.wait_whole(&wanted, began)?;
        let seconds = began.elapsed().as_secs_f64();
        let Spent { manager, emulators } = self.spent()?.since(before);
        let again = self.again(&wanted)?;
        Ok(Members {
            machines,
            clusters: u32::try_from(templates.len())?,
            seconds,
            manager,
            emulators,
            again,
        })
    }

    /// All members lose their power, and when the manager has noticed they are switched on as fast as new ones are.
    fn again(&self, wanted: &BTreeMap<&str, usize>) -> Result<Again> {
        say("all members are switched off");
        let mut off = Vec::new();
        for (process, emulator) in self.emulators.iter().enumerate() {
            let listed = emulator.machines()?;
            let numbers = listed.iter().filter_map(|machine| machine["number"].as_u64());
            let numbers: Vec<u32> = numbers.map(u32::try_from).collect::<Result<_, _>>()?;
            emulator.power(&numbers, false)?;
            off.extend(numbers.into_iter().map(|number| (process, number)));
        }
        self.wait_away()?;
        say("all members are switched on again");
        let (before, began) = (self.spent()?, Instant::now());
        for (second, machines) in (0_u32..).zip(off.chunks(self.options.per_second.max(1) as usize)) {
            std::thread::sleep(Duration::from_secs(second.into()).saturating_sub(began.elapsed()));
            for (process, number) in machines {
                self.emulators[*process].power(&[*number], true)?;
            }
        }
        self.wait_whole(wanted, began)?;
        let seconds = began.elapsed().as_secs_f64();
        let Spent { manager, emulators } = self.spent()?.since(before);
        Ok(Again { seconds, manager, emulators })
    }

    /// Waits until the manager takes no machine for connected.
    fn wait_away(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let connected = self.connected()?;
            if connected == 0 {
                return Ok(());
            }
            ensure!(
                began.elapsed() < AWAY_MAX,
                "{} s without power, and {connected} machines are still connected",
                AWAY_MAX.as_secs()
            );
            std::thread::sleep(LOOK_AT_REST);
        }
    }

    fn templates(&self, machines: usize) -> Result<Vec<Template>> {
        // One process has the last, smaller cluster of its own.
        let most = CLUSTERS_MAX.saturating_sub(self.emulators.len()).max(1);
        let size = machines.div_ceil(most).max(CLUSTER_MIN);
        let mut templates = Vec::new();
        for (process, emulator) in self.emulators.iter().enumerate() {
            let listed = emulator.machines()?;
            let uuids = listed.iter().filter_map(|machine| machine["uuid"].as_str());
            let uuids: Vec<String> = uuids.map(str::to_owned).collect();
            for (number, uuids) in uuids.chunks(size).enumerate() {
                templates.push(template(&format!("bench-{process}-{number}"), uuids));
            }
        }
        Ok(templates)
    }

    /// Waits until every cluster is ready with all its machines.
    fn wait_whole(&self, wanted: &BTreeMap<&str, usize>, began: Instant) -> Result<()> {
        loop {
            let all = self.probe.list::<ClusterStatus>(&Query::default())?;
            let statuses = all.iter().filter_map(|status| status.resource::<ClusterStatus>());
            let whole = statuses.filter(|status| {
                let machines = wanted.get(status.id()).copied();
                machines.is_some_and(|machines| is_whole(&status.spec, machines))
            });
            let count = whole.count();
            if count == wanted.len() {
                return Ok(());
            }
            ensure!(
                began.elapsed() < MEMBERS_MAX,
                "after {} s {count} of {} clusters are whole:\n{}",
                MEMBERS_MAX.as_secs(),
                wanted.len(),
                self.manager.fleet.evidence()
            );
            std::thread::sleep(LOOK);
        }
    }
}

fn is_whole(status: &ClusterStatus, machines: usize) -> bool {
    let healthy = status.machines.as_ref().map_or(0, |machines| machines.healthy.min(machines.total));
    status.ready && status.available && status.kubernetes_api_ready && healthy as usize == machines
}

/// A cluster of these machines with one control plane.
fn template(name: &str, uuids: &[String]) -> Template {
    let (control_planes, workers) = uuids.split_at(1.min(uuids.len()));
    Template {
        name: name.to_owned(),
        talos_version: corten_base::version::TAG.to_owned(),
        kubernetes_version: corten_config::defaults::KUBERNETES_VERSION.to_owned(),
        control_planes: control_planes.to_vec(),
        workers: workers.to_vec(),
        patches: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::Machines;

    use super::*;

    #[test]
    fn a_cluster_has_one_control_plane_and_is_whole_with_all_its_machines() {
        let uuids = ["a", "b", "c"].map(str::to_owned);
        let template = template("x", &uuids);
        assert_eq!((template.control_planes.len(), template.workers.len()), (1, 2));
        let machines = Some(Machines { total: 3, healthy: 3, ..Machines::default() });
        let status = ClusterStatus { ready: true, available: true, machines, ..ClusterStatus::default() };
        let status = ClusterStatus { kubernetes_api_ready: true, ..status };
        assert!(is_whole(&status, 3) && !is_whole(&status, 4));
    }
}
