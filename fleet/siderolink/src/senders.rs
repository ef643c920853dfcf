//! Which machine has an address of the tunnel. The tunnel takes from a peer only what comes from its own address, so
//! that the address of a caller is proof.
//!
//! ```text
//! Machine (label omni.sidero.dev/address) ──changes, read when somebody asks──▶ address ─▶ UUID of the machine
//! ```

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use corten_fleet_resources::labels;
use corten_fleet_resources::machine::Machine;
use corten_resource::{AnyResource, Change, State, Watch};
use futures::FutureExt as _;
use parking_lot::Mutex;
use tonic::Request;

/// Machines by address. Clones share one index.
#[derive(Clone, Debug)]
pub(crate) struct Senders(Arc<Mutex<Index>>);

#[derive(Debug)]
struct Index {
    state: State,
    watch: Watch,
    machines: HashMap<IpAddr, Arc<str>>,
}

impl Senders {
    /// The machines of a state.
    pub fn new(state: State) -> Self {
        let watch = state.watch::<Machine>();
        Self(Arc::new(Mutex::new(Index { state, watch, machines: HashMap::new() })))
    }

    /// The machine with this address, by its UUID; `None` when none has it.
    pub fn machine(&self, address: IpAddr) -> Option<Arc<str>> {
        let mut index = self.0.lock();
        index.follow();
        index.machines.get(&address.to_canonical()).cloned()
    }
}

/// Where a call comes from, as the connection tells; headers are not believed.
pub(crate) fn source<T>(request: &Request<T>) -> Option<IpAddr> {
    request.remote_addr().map(|address| address.ip().to_canonical())
}

impl Index {
    /// Takes in what has happened since somebody asked last. It never waits.
    fn follow(&mut self) {
        while let Some(batch) = self.watch.next_batch().now_or_never() {
            if let Some(events) = batch {
                events.into_iter().for_each(|event| self.apply(&event.change));
            } else {
                // Nobody asked for so long that changes were lost.
                self.watch = self.state.watch::<Machine>();
                self.machines.clear();
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Created(machine) => self.insert(machine),
            Change::Updated { new, old } => {
                if address(old) != address(new) {
                    self.remove(old);
                }
                self.insert(new);
            }
            Change::Destroyed(machine) => self.remove(machine),
            Change::Bootstrapped | Change::Errored(_) | Change::Noop => {}
        }
    }

    fn insert(&mut self, machine: &AnyResource) {
        if let Some(address) = address(machine) {
            self.machines.insert(address, Arc::from(machine.id()));
        }
    }

    /// Another machine may have the address by now.
    fn remove(&mut self, machine: &AnyResource) {
        if let Some(address) = address(machine)
            && self.machines.get(&address).is_some_and(|known| **known == *machine.id())
        {
            self.machines.remove(&address);
        }
    }
}

fn address(machine: &AnyResource) -> Option<IpAddr> {
    machine.metadata().labels.get(labels::ADDRESS)?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::SocketAddr;

    use tonic::transport::server::TcpConnectInfo;

    use super::*;

    /// A state of the manager without resources.
    pub(crate) fn state() -> State {
        corten_resource::testing::state(corten_fleet_resources::registry())
    }

    /// Puts a machine with this address.
    pub(crate) fn machine(state: &State, id: &str, address: &str) {
        let spec = Machine { management_address: address.to_owned(), ..Machine::default() };
        let machine = corten_resource::testing::resource(id, spec).edit(|metadata| {
            metadata.labels.insert(labels::ADDRESS.to_owned(), address.to_owned());
        });
        state.put_any("", machine).unwrap();
    }

    /// A call from this address.
    pub(crate) fn from<T>(address: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let remote_addr = Some(SocketAddr::new(address.parse().unwrap(), 40_000));
        request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr });
        request
    }

    fn known(senders: &Senders, address: &str) -> Option<String> {
        senders.machine(address.parse().unwrap()).map(|machine| machine.to_string())
    }

    #[test]
    fn an_address_leads_to_the_machine_that_has_it_now() {
        let state = state();
        machine(&state, "a", "fdae::2");
        let senders = Senders::new(state.clone());
        assert_eq!(known(&senders, "fdae::2").as_deref(), Some("a"));
        machine(&state, "b", "fdae::3");
        machine(&state, "a", "fdae::4");
        assert_eq!(known(&senders, "fdae::2"), None);
        assert_eq!(known(&senders, "fdae::3").as_deref(), Some("b"));
        machine(&state, "c", "fdae::4");
        state.remove::<Machine>("", "a").unwrap();
        assert_eq!(known(&senders, "fdae::4").as_deref(), Some("c"));
    }

    #[test]
    fn a_call_comes_from_where_its_connection_does() {
        assert_eq!(source(&from("::ffff:192.0.2.1", ())), Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!(source(&Request::new(())), None);
    }

    #[test]
    fn an_index_that_nobody_asked_for_long_begins_anew() {
        let state = state();
        let senders = Senders::new(state.clone());
        assert_eq!(known(&senders, "fdae::1"), None);
        for host in 0..3000 {
            machine(&state, "a", &format!("fdae::{host:x}"));
        }
        assert_eq!(known(&senders, "fdae::1"), None);
        assert_eq!(known(&senders, "fdae::bb7").as_deref(), Some("a"));
    }
}
