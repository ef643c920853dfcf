//! All machines of a process.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Task, spawn};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use crate::machine::{self, Machine};
use crate::options::Options;
use crate::spec::{Model, Spec};
use crate::world::World;

/// Between two machines' starts, when they are to come one after the other.
const STEP: Duration = Duration::from_millis(100);

/// A machine that lives.
#[derive(Debug)]
struct Living {
    machine: Arc<Machine>,
    _life: Task,
}

#[derive(Debug, Default)]
struct Machines {
    all: BTreeMap<u32, Living>,
    next: u32,
}

/// All machines of a process, which are alike but for what is given for each.
#[derive(Debug)]
pub struct Emulator {
    world: Arc<World>,
    model: Arc<Model>,
    machines: Mutex<Machines>,
}

impl Emulator {
    /// An emulator without machines, with the network that the options ask for.
    ///
    /// # Errors
    /// When the host does not allow the namespace of the network.
    pub async fn open(options: Options, model: Model) -> io::Result<Self> {
        Ok(Self::over(World::open(options).await?, model))
    }

    /// An emulator without machines, in this world.
    #[must_use]
    pub fn over(world: Arc<World>, model: Model) -> Self {
        Self { world, model: Arc::new(model), machines: Mutex::default() }
    }

    /// What the machines share.
    #[must_use]
    pub const fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// What the machines have in common.
    #[must_use]
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Switches a machine on. One with the same number is thrown away. Must be called inside a runtime.
    pub fn add(&self, spec: Spec) -> Arc<Machine> {
        let number = spec.number;
        let machine = Machine::new(spec, Arc::clone(&self.world));
        let life = spawn("machine", machine::run(Arc::clone(&machine)));
        let mut machines = self.machines.lock();
        machines.next = machines.next.max(number.saturating_add(1));
        machines.all.insert(number, Living { machine: Arc::clone(&machine), _life: life });
        machine
    }

    /// Switches on the machine with the next number, with another UUID than its own if one is given. Must be called
    /// inside a runtime.
    pub fn add_next(&self, uuid: Option<&str>) -> Arc<Machine> {
        let number = self.machines.lock().next;
        let spec = Spec::new(self.world.options.seed, number, Arc::clone(&self.model));
        self.add(match uuid {
            Some(uuid) => spec.with_uuid(uuid),
            None => spec,
        })
    }

    /// Switches on so many machines, so many of them a second; all at once when that is none.
    pub async fn add_many(&self, count: u32, per_second: u32) {
        let batch = if per_second == 0 { count } else { per_second.div_ceil(10) };
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut left = count;
        while left > 0 {
            steps.tick().await;
            for _ in 0..batch.min(left) {
                self.add_next(None);
            }
            left = left.saturating_sub(batch);
        }
    }

    /// Throws a machine away, with all that it knew; false when there is none. Its cluster sees it go down.
    pub fn remove(&self, number: u32) -> bool {
        let removed = self.machines.lock().all.remove(&number);
        removed.is_some_and(|living| {
            living.machine.power(false);
            true
        })
    }

    /// All machines, by number.
    #[must_use]
    pub fn machines(&self) -> Vec<Arc<Machine>> {
        self.machines.lock().all.values().map(|living| Arc::clone(&living.machine)).collect()
    }

    /// A machine.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<Arc<Machine>> {
        self.machines.lock().all.get(&number).map(|living| Arc::clone(&living.machine))
    }
}
