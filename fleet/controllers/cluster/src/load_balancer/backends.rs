//! The machines that a load balancer leads to, and in which order they are tried.
//!
//! Those that answered last take turns; after them come those of which nothing is known, then those that did not
//! answer. None is left out: what did not answer a moment ago may be the only one that does now.

use std::net::SocketAddrV6;

use parking_lot::Mutex;

/// What is known of a machine. The order is that of trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    /// It answered last.
    Well,
    /// It was not tried yet.
    Unknown,
    /// It did not answer last.
    Ill,
}

#[derive(Debug, Default)]
struct Table {
    rows: Vec<(SocketAddrV6, Health)>,
    /// How many connections were led on.
    turn: usize,
}

/// The machines behind a load balancer.
#[derive(Debug, Default)]
pub(super) struct Backends(Mutex<Table>);

impl Backends {
    /// Machines of which nothing is known.
    pub(super) fn new(addresses: &[SocketAddrV6]) -> Self {
        let rows = addresses.iter().map(|address| (*address, Health::Unknown)).collect();
        Self(Mutex::new(Table { rows, turn: 0 }))
    }

    /// Takes other machines; what is known of those that stay is kept.
    pub(super) fn set(&self, addresses: &[SocketAddrV6]) {
        let mut table = self.0.lock();
        let health = |address: &SocketAddrV6| {
            let known = table.rows.iter().find(|(known, _)| known == address);
            known.map_or(Health::Unknown, |(_, health)| *health)
        };
        let rows = addresses.iter().map(|address| (*address, health(address))).collect();
        table.rows = rows;
    }

    /// All of them, in the order in which they were given.
    pub(super) fn addresses(&self) -> Vec<SocketAddrV6> {
        self.0.lock().rows.iter().map(|(address, _)| *address).collect()
    }

    /// Whether one of them answered last.
    pub(super) fn is_healthy(&self) -> bool {
        self.0.lock().rows.iter().any(|(_, health)| *health == Health::Well)
    }

    /// Whether all of them did.
    pub(super) fn are_all_well(&self) -> bool {
        self.0.lock().rows.iter().all(|(_, health)| *health == Health::Well)
    }

    /// Notes whether a machine answered. True when the whole is healthy since, or no longer.
    pub(super) fn note(&self, address: SocketAddrV6, answered: bool) -> bool {
        let mut table = self.0.lock();
        let any = |table: &Table| table.rows.iter().any(|(_, health)| *health == Health::Well);
        let before = any(&table);
        if let Some((_, health)) = table.rows.iter_mut().find(|(known, _)| *known == address) {
            *health = if answered { Health::Well } else { Health::Ill };
        }
        before != any(&table)
    }

    /// Whom to try for the next connection, in this order.
    pub(super) fn order(&self) -> Vec<SocketAddrV6> {
        let mut table = self.0.lock();
        let turn = table.turn;
        table.turn = turn.wrapping_add(1);
        let mut rows = table.rows.clone();
        rows.sort_by_key(|(_, health)| *health);
        let well = rows.iter().filter(|(_, health)| *health == Health::Well).count();
        if let Some(well) = rows.get_mut(..well).filter(|well| !well.is_empty()) {
            let first = turn % well.len();
            well.rotate_left(first);
        }
        rows.into_iter().map(|(address, _)| address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: u16) -> SocketAddrV6 {
        SocketAddrV6::new(std::net::Ipv6Addr::new(0xfdae, 0, 0, 0, 0, 0, 0, host), 6443, 0, 0)
    }

    #[test]
    fn those_that_answer_take_turns_and_the_others_come_last() {
        let backends = Backends::new(&[at(1), at(2), at(3), at(4)]);
        assert!(!backends.is_healthy());
        assert!(backends.note(at(2), true), "somebody answers now");
        assert!(!backends.note(at(3), true));
        assert!(!backends.note(at(1), false));
        assert_eq!(backends.order(), [at(2), at(3), at(4), at(1)]);
        assert_eq!(backends.order(), [at(3), at(2), at(4), at(1)]);
        assert!(backends.is_healthy() && !backends.are_all_well());
    }

    #[test]
    fn what_is_known_of_a_machine_stays_when_others_come_and_go() {
        let backends = Backends::new(&[at(1), at(2)]);
        backends.note(at(1), true);
        backends.set(&[at(3), at(1)]);
        assert_eq!(backends.addresses(), [at(3), at(1)]);
        assert_eq!(backends.order(), [at(1), at(3)]);
        assert!(!backends.note(at(2), true), "it is gone");
        backends.set(&[]);
        assert!(backends.order().is_empty() && !backends.is_healthy());
    }
}
