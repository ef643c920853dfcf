//! A neighbour for tests: another network, at the other end of a cable.

use std::os::fd::AsFd as _;

use corten_sys::namespace::{NamedNetwork, Namespaces, unshare};
use corten_sys::network::{Links, PeerNamespace};

/// The network of a neighbour; both ends of the cable are `eth0`. Its name goes with it, also when a test fails.
pub(crate) struct Neighbour(Option<NamedNetwork>);

impl Neighbour {
    /// Gives this thread a network of its own, and that a neighbour. The name is for this process alone.
    pub(crate) fn of_this_thread(name: &str) -> Self {
        unshare(Namespaces::NET).expect("root may unshare");
        let name = format!("corten-{name}-{}", std::process::id());
        let make = || NamedNetwork::enter_or_create(&name).map(drop);
        std::thread::scope(|scope| scope.spawn(make).join()).expect("no panic").expect("a namespace");
        let network = NamedNetwork::open(&name).expect("the namespace");
        let there = PeerNamespace::Descriptor(network.as_fd());
        Links::open()
            .and_then(|mut links| links.add_cable("eth0", "eth0", [2, 0, 0, 0, 0, 9], there))
            .expect("a cable");
        Self(Some(network))
    }

    /// Does something in the neighbour's network.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.as_ref().expect("it is there until it is dropped").run(work).expect("the namespace")
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(NamedNetwork::delete) {
            eprintln!("the neighbour stays: {error}");
        }
    }
}
