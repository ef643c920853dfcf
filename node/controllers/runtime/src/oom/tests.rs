//! Memory runs short on a machine of texts.

use std::sync::Arc;

use corten_config::oom::{Class, ClassUse, Pressure, Stall};
use corten_resource::testing::{TestRuntime, resource};
use parking_lot::Mutex;

use super::*;

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    is_silent: bool,
    full: f64,
    total: f64,
    candidates: Vec<Group>,
    sampled: usize,
    listed: usize,
    ended: Vec<String>,
}

impl Groups for Fake {
    fn machine(&self) -> Option<Pressure> {
        let mut world = self.0.lock();
        // What waits, waits on.
        world.total += world.full * 10_000.0;
        let stall = Stall { avg10: world.full, total: world.total, ..Stall::default() };
        (!world.is_silent).then_some(Pressure { some: stall, full: stall })
    }
    fn sample(&self, pressure: Pressure) -> Sample {
        self.0.lock().sampled += 1;
        let of = |class| match class {
            Class::System => ClassUse { pressure, ..ClassUse::default() },
            _ => ClassUse::default(),
        };
        let classes = Class::ALL.into_iter().map(|class| (class, of(class))).collect();
        Sample { machine: pressure, classes }
    }
    fn candidates(&self) -> Vec<Group> {
        let mut world = self.0.lock();
        world.listed += 1;
        world.candidates.clone()
    }
    fn commands(&self, path: &str) -> Vec<String> {
        vec![format!("/bin/{path}")]
    }
    fn end(&self, path: &str) -> anyhow::Result<()> {
        let mut world = self.0.lock();
        world.ended.push(path.to_owned());
        world.candidates.retain(|group| group.path != path);
        Ok(())
    }
}

fn group(path: &str, class: Class, current: u64) -> Group {
    Group { path: path.to_owned(), class, memory_current: Some(current), ..Group::default() }
}

fn machine(fake: &Fake, yaml: Option<&str>) -> TestRuntime {
    let runtime = TestRuntime::new(corten_resources::registry(), |runtime| {
        runtime.register(MemoryPressure::new(fake.clone()));
    });
    if let Some(yaml) = yaml {
        runtime.put(resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() }));
    }
    runtime
}

#[tokio::test(start_paused = true)]
async fn a_quiet_machine_lists_nothing_and_a_short_one_ends_one_group_at_a_time() {
    let fake = Fake::default();
    fake.0.lock().candidates =
        vec![group("burstable", Class::Burstable, 300), group("greedy", Class::Besteffort, 200)];
    let runtime = machine(&fake, None);
    runtime.advance(Duration::from_secs(10)).await;
    assert_eq!(fake.0.lock().sampled, 1, "the first look, with which the others are compared");
    assert_eq!(fake.0.lock().listed, 0);
    fake.0.lock().full = 40.0;
    runtime.advance(Duration::from_secs(3)).await;
    assert_eq!(fake.0.lock().ended, ["greedy"], "the last action is given time to show its effect");
    runtime.advance(Duration::from_secs(4)).await;
    assert_eq!(fake.0.lock().ended, ["greedy", "burstable"]);
    let outputs = runtime.outputs();
    assert!(
        outputs.contains("/bin/greedy") && outputs.contains("qos_memory_full_avg10[System]"),
        "{outputs}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_configuration_says_when_and_what() {
    let yaml = "{apiVersion: v1alpha1, kind: OOMConfig, triggerExpression: 'memory_full_avg10 > 90.0', \
                cgroupRankingExpression: 'path == \"chosen\" ? 1.0 : 0.0', sampleInterval: 100ms}";
    let fake = Fake::default();
    fake.0.lock().candidates =
        vec![group("greedy", Class::Besteffort, 900), group("chosen", Class::Guaranteed, 1)];
    let runtime = machine(&fake, Some(yaml));
    fake.0.lock().full = 50.0;
    runtime.advance(Duration::from_secs(20)).await;
    assert!(fake.0.lock().ended.is_empty());
    assert!(fake.0.lock().sampled > 100, "an expression of the user may ask for anything");
    fake.0.lock().full = 95.0;
    runtime.advance(Duration::from_secs(2)).await;
    assert_eq!(fake.0.lock().ended, ["chosen"], "and nothing that has no score above zero");
}

#[test]
fn classes_come_before_the_ranking_when_the_configuration_says_so() {
    let groups = [group("a", Class::Burstable, 900), group("b", Class::Besteffort, 10)];
    let first = |strict_class_ordering| {
        let rules = Rules::read(&Oom { strict_class_ordering, ..Oom::default() }).expect("rules");
        rules.first(&groups).expect("a ranking").map(|(group, _)| group.path.clone())
    };
    assert_eq!(first(false).as_deref(), Some("a"));
    assert_eq!(first(true).as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_tells_nothing_is_said_to() {
    let fake = Fake::default();
    fake.0.lock().is_silent = true;
    let runtime = machine(&fake, None);
    runtime.quiet().await;
    let status = runtime.status("runtime.MemoryPressure").expect("a status");
    assert!(status.reason.contains("does not tell"), "{}", status.reason);
}
