//! Requests without a pause, while something is done to the machine. A single failure is remembered.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use corten_harness::ContainerMachine;

use crate::inside::spawn_inside;
use crate::tool::Tool;

/// What one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Failures that are kept with their text.
const FAILURES_MAX: usize = 20;

/// Requests of one kind, one after another, until it is finished.
#[derive(Debug)]
pub struct Stream {
    name: &'static str,
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tally>>,
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answered.
    pub answered: u64,
    /// The slowest answer.
    pub slowest: Duration,
    /// Not answered, with seconds since the start.
    pub failures: Vec<String>,
}

impl Stream {
    /// Starts asking from inside of the machine's network, with a pause between the questions.
    pub fn start(
        machine: &ContainerMachine,
        name: &'static str,
        pause: Duration,
        mut ask: impl FnMut(u64) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let thread = spawn_inside(machine, {
            let end = end.clone();
            move || {
                let (mut tally, began) = (Tally::default(), Instant::now());
                while !end.load(Ordering::SeqCst) {
                    let asked = Instant::now();
                    match ask(tally.answered) {
                        Ok(()) => {
                            tally.answered += 1;
                            tally.slowest = tally.slowest.max(asked.elapsed());
                        }
                        Err(error) if tally.failures.len() < FAILURES_MAX => {
                            tally
                                .failures
                                .push(format!("at {:.1} s: {error:#}", began.elapsed().as_secs_f64()));
                        }
                        Err(_) => {}
                    }
                    std::thread::sleep(pause);
                }
                tally
            }
        })?;
        Ok(Self { name, end, thread })
    }

    /// Name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Ends the stream. A failure, or nothing asked at all, is an error.
    pub fn finish(self) -> Result<Tally> {
        self.end.store(true, Ordering::SeqCst);
        let tally = self.thread.join().map_err(|_| anyhow!("the stream `{}` panicked", self.name))??;
        ensure!(tally.failures.is_empty(), "{}: {}", self.name, tally.failures.join("; "));
        ensure!(tally.answered > 0, "{}: nothing was asked", self.name);
        Ok(tally)
    }
}

/// Fetches a page by HTTP.
pub fn http(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, REQUEST_MAX).context("cannot connect")?;
    stream.set_read_timeout(Some(REQUEST_MAX))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n").context("cannot ask")?;
    let mut answer = String::new();
    stream.take(1 << 16).read_to_string(&mut answer).context("cannot read the answer")?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "the answer is `{}`", answer.lines().next().unwrap_or(""));
    Ok(answer)
}

/// Asks a name server for the IPv4 address of a name (RFC 1035).
pub fn dns(server: SocketAddr, name: &str, id: u16) -> Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot open a socket")?;
    socket.set_read_timeout(Some(REQUEST_MAX))?;
    socket.send_to(&question(name, id), server).context("cannot ask")?;
    let mut answer = [0; 512];
    let (length, _) = socket.recv_from(&mut answer).context("no answer")?;
    address_in(answer.get(..length).unwrap_or_default(), id)
}

fn question(name: &str, id: u16) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    // Recursion desired, one question.
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        packet.push(label.len().min(63) as u8);
        packet.extend(label.bytes().take(63));
    }
    // The root, type A, class IN.
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// The address in an answer to one of our questions: its last four bytes, because the only record is last, or is
/// followed by nothing that we asked for.
fn address_in(answer: &[u8], id: u16) -> Result<Ipv4Addr> {
    let [id_high, id_low, _, flags, _, _, count_high, count_low, ..] = answer else {
        bail!("a short answer")
    };
    ensure!([*id_high, *id_low] == id.to_be_bytes(), "an answer to another question");
    ensure!(flags & 15 == 0, "the name server answers code {}", flags & 15);
    ensure!([*count_high, *count_low] != [0, 0], "the name has no address");
    // Type A, class IN, four bytes of life, length 4, the address.
    let record = answer.windows(14).find(|bytes| bytes.starts_with(&[0, 1, 0, 1]) && bytes[8..10] == [0, 4]);
    let record = record.context("the answer has no IPv4 address")?;
    Ok(Ipv4Addr::new(record[10], record[11], record[12], record[13]))
}

/// Writes to etcd through the Kubernetes API.
pub fn write(kubectl: &Tool, number: u64) -> Result<()> {
    let patch = format!(r#"{{"data":{{"beat":"{number}"}}}}"#);
    let arguments = ["patch", "configmap", "e2e-beat", "--type=merge", "--patch", &patch];
    kubectl.run_for(&arguments, REQUEST_MAX).map(drop)
}

/// Asks the Kubernetes API at a server of our choice.
pub fn ready(kubectl: &Tool) -> Result<()> {
    kubectl.run_for(&["get", "--raw", "/readyz"], REQUEST_MAX).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_asked_and_addresses_found() {
        let mut packet = question("a.bc.", 7);
        assert_eq!(packet[12..], [1, b'a', 2, b'b', b'c', 0, 0, 1, 0, 1]);
        assert!(address_in(&packet, 7).is_err());
        packet[7] = 1;
        packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 96, 0, 10]);
        assert_eq!(address_in(&packet, 7).unwrap(), Ipv4Addr::new(10, 96, 0, 10));
        assert!(address_in(&packet, 8).is_err());
        packet[3] = 3;
        assert!(address_in(&packet, 7).unwrap_err().to_string().contains("code 3"));
    }
}
