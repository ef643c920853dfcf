//! Datagrams over something else than UDP: a machine that cannot send UDP tunnels them through a gRPC stream.
//!
//! Such a machine has a virtual address, which stands for its stream wherever an address of a peer stands.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use bytes::Bytes;
use tokio::sync::mpsc;

/// Datagrams that wait for the stream to take them; more are dropped.
const QUEUE_MAX: usize = 100;

/// The tunnel's end of one stream.
#[derive(Debug)]
pub struct Carrier {
    /// Datagrams to send to the machine. It ends when another stream of the same machine takes over.
    pub outgoing: mpsc::Receiver<Bytes>,
    pub(crate) address: Ipv6Addr,
    pub(crate) number: u64,
}

/// A stream that may not carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarrierError {
    /// No machine has the address.
    #[error("no machine tunnels with this address: it must ask to be provisioned again")]
    Unknown,
}

/// All streams by virtual address.
#[derive(Debug, Default)]
pub struct Carriers {
    streams: HashMap<Ipv6Addr, (u64, mpsc::Sender<Bytes>)>,
    count: u64,
}

impl Carriers {
    /// A new stream for an address; an earlier one ends.
    pub fn attach(&mut self, address: Ipv6Addr) -> Carrier {
        let (sender, outgoing) = mpsc::channel(QUEUE_MAX);
        self.count += 1;
        self.streams.insert(address, (self.count, sender));
        Carrier { outgoing, address, number: self.count }
    }

    /// Forgets a stream, unless another one has taken over.
    pub fn detach(&mut self, address: Ipv6Addr, number: u64) {
        if self.streams.get(&address).is_some_and(|(current, _)| *current == number) {
            self.streams.remove(&address);
        }
    }

    /// Hands a datagram to the stream of an address; without one, or when it is slow, the datagram is lost.
    pub fn send(&self, address: Ipv6Addr, datagram: Bytes) {
        if let Some((_, sender)) = self.streams.get(&address) {
            let _ = sender.try_send(datagram);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 4, 0, 0, 0, 9);

    #[test]
    fn a_second_stream_ends_the_first_and_a_late_goodbye_of_the_first_changes_nothing() {
        let mut carriers = Carriers::default();
        let mut first = carriers.attach(ADDRESS);
        let mut second = carriers.attach(ADDRESS);
        assert!(
            first.outgoing.try_recv().is_err_and(|error| error == mpsc::error::TryRecvError::Disconnected)
        );
        carriers.detach(ADDRESS, first.number);
        carriers.send(ADDRESS, Bytes::from_static(b"x"));
        assert_eq!(second.outgoing.try_recv().as_deref(), Ok(&b"x"[..]));
    }

    #[test]
    fn a_stream_that_is_not_read_loses_datagrams() {
        let mut carriers = Carriers::default();
        let mut carrier = carriers.attach(ADDRESS);
        for _ in 0..QUEUE_MAX + 50 {
            carriers.send(ADDRESS, Bytes::from_static(b"x"));
        }
        let mut count = 0;
        while carrier.outgoing.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, QUEUE_MAX);
    }
}
