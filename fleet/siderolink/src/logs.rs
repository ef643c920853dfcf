//! Receives the logs of machines: lines of JSON over TCP in the tunnel.
//!
//! ```text
//! connection ─▶ Places (bounded, rate of the machine) ─▶ Lines (bounded) ─▶ LogSink, with the UUID of the machine
//! ```
//!
//! Lines are handed on as they come; nobody reads the JSON here. A machine that sends faster than it may is read more
//! slowly, which its own end of the connection feels and nobody else.

mod lines;

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use corten_base::poll_piece;
use tokio::io::AsyncRead;

use crate::places::Place;
use crate::senders::Senders;

use lines::Lines;

/// Takes lines of machines.
pub trait LogSink: Send + Sync + 'static {
    /// Takes a line, without its end, of the machine with this UUID. It must not wait: what it cannot keep it drops.
    fn append(&self, machine: &str, line: &[u8]);
}

/// The receiver. Clones are the same.
#[derive(Clone)]
pub(crate) struct LogReceiver {
    senders: Senders,
    sink: Arc<dyn LogSink>,
}

impl LogReceiver {
    /// A receiver that hands lines on.
    pub fn new(senders: Senders, sink: Arc<dyn LogSink>) -> Self {
        Self { senders, sink }
    }

    /// Reads a connection until it ends, a newer one takes its place, or no machine has its address any more.
    pub async fn receive(
        &self,
        mut stream: impl AsyncRead + Unpin,
        source: IpAddr,
        mut place: Place,
    ) -> io::Result<()> {
        let mut lines = Lines::default();
        // Before anything is read: strangers cost nothing.
        let Some(mut machine) = self.senders.machine(source) else { return Ok(()) };
        loop {
            let reading = poll_fn(|cx| {
                poll_piece(&mut stream, cx, |bytes| {
                    if bytes.is_empty() {
                        lines.finish(|line| self.sink.append(&machine, line));
                        return 0;
                    }
                    let Some(current) = self.senders.machine(source) else { return 0 };
                    machine = current;
                    lines.push(bytes, |line| self.sink.append(&machine, line));
                    bytes.len()
                })
            });
            let count = tokio::select! {
                // Dropped, a read has taken nothing.
                count = reading => count?,
                () = place.evicted() => {
                    lines.finish(|line| self.sink.append(&machine, line));
                    return Ok(());
                }
            };
            if count == 0 {
                return Ok(());
            }
            place.spend(count).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_base::Rate;
    use corten_fleet_resources::machine::Machine;
    use parking_lot::Mutex;
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::places::{Bounds, Overflow, Places};
    use crate::senders::tests::{machine, state};

    const ADDRESS: &str = "fdae::7";

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl LogSink for Kept {
        fn append(&self, machine: &str, line: &[u8]) {
            self.0.lock().push(format!("{machine} {}", String::from_utf8_lossy(line)));
        }
    }

    fn places() -> Places {
        let rate = Some(Rate { per_second: 1000, burst: 1000 });
        Places::new(Bounds { total: 8, per_source: 1, overflow: Overflow::EndOldest, rate })
    }

    #[tokio::test(start_paused = true)]
    async fn lines_go_to_the_machine_that_has_the_address_and_end_with_it() {
        let (state, kept) = (state(), Arc::new(Kept::default()));
        machine(&state, "uuid", ADDRESS);
        let receiver = LogReceiver::new(Senders::new(state.clone()), kept.clone());
        let (mut theirs, ours) = tokio::io::duplex(64);
        let (source, places) = (ADDRESS.parse().unwrap(), places());
        let place = places.take(source).unwrap();
        let (received, ()) = tokio::join!(receiver.receive(ours, source, place), async {
            theirs.write_all(b"{\"msg\":\"one\"}\n{\"msg\":\"two\"}\n").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            state.remove::<Machine>("", "uuid").unwrap();
            theirs.write_all(b"three\n").await.unwrap();
        });
        received.unwrap();
        assert_eq!(*kept.0.lock(), ["uuid {\"msg\":\"one\"}", "uuid {\"msg\":\"two\"}"]);
        let (_theirs, ours) = tokio::io::duplex(64);
        let place = places.take(source).unwrap();
        receiver.receive(ours, source, place).await.expect("a stranger is closed at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_sends_too_much_is_read_at_its_rate() {
        let (state, kept) = (state(), Arc::new(Kept::default()));
        machine(&state, "uuid", ADDRESS);
        let receiver = LogReceiver::new(Senders::new(state), kept.clone());
        let source = ADDRESS.parse().unwrap();
        let place = places().take(source).unwrap();
        let bytes = [b'x'; 99].iter().copied().chain([b'\n']).collect::<Vec<u8>>().repeat(50);
        let start = Instant::now();
        receiver.receive(bytes.as_slice(), source, place).await.unwrap();
        assert_eq!(kept.0.lock().len(), 50);
        assert_eq!(start.elapsed().as_secs(), 4, "5000 bytes at 1000 a second, the first 1000 at once");
    }
}
