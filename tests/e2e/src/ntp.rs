//! A time server for machines under test: answers every request with this host's clock (RFC 5905, server mode).

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use corten_harness::Lab;

const PORT: u16 = 123;
const PACKET: usize = 48;
/// Seconds from 1900 to 1970.
const ERA: u64 = 2_208_988_800;
/// How long the server may sleep before it looks whether it shall end.
const WAKE: Duration = Duration::from_millis(200);

/// A running time server; it ends with this value.
#[derive(Debug)]
pub struct TimeServer {
    end: Arc<AtomicBool>,
    answers: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl TimeServer {
    /// Serves on this address of a lab's network.
    pub fn start(lab: &Lab, address: Ipv4Addr) -> Result<Self> {
        let socket = lab.run(|| UdpSocket::bind((address, PORT)))?.context("cannot listen for NTP")?;
        socket.set_read_timeout(Some(WAKE))?;
        let (end, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let thread = std::thread::spawn({
            let (end, answers) = (end.clone(), answers.clone());
            move || {
                while !end.load(Ordering::SeqCst) {
                    if serve_one(&socket).is_some() {
                        answers.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        });
        Ok(Self { end, answers, thread: Some(thread) })
    }

    /// How many requests were answered.
    #[must_use]
    pub fn answers(&self) -> u32 {
        self.answers.load(Ordering::SeqCst)
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic in it has told itself already.
            let _ = thread.join();
        }
    }
}

fn serve_one(socket: &UdpSocket) -> Option<SocketAddr> {
    let mut request = [0; 512];
    let (length, from) = socket.recv_from(&mut request).ok()?;
    let answer = answer(request.get(..length)?, SystemTime::now())?;
    socket.send_to(&answer, from).ok()?;
    Some(from)
}

/// The answer to a client's packet; nothing for anything else.
pub fn answer(request: &[u8], now: SystemTime) -> Option<[u8; PACKET]> {
    const CLIENT: u8 = 3;
    const SERVER: u8 = 4;
    let first = *request.first()?;
    if request.len() < PACKET || first & 7 != CLIENT {
        return None;
    }
    let version = first & 0b0011_1000;
    let now = timestamp(now);
    let mut answer = [0; PACKET];
    // Stratum 2, poll as asked, a microsecond of precision.
    answer[..4].copy_from_slice(&[version | SERVER, 2, *request.get(2)?, 0xec]);
    answer[12..16].copy_from_slice(&[127, 0, 0, 1]);
    answer[16..24].copy_from_slice(&now);
    answer[24..32].copy_from_slice(request.get(40..48)?);
    answer[32..40].copy_from_slice(&now);
    answer[40..48].copy_from_slice(&now);
    Some(answer)
}

fn timestamp(time: SystemTime) -> [u8; 8] {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (((since.as_secs() + ERA) << 32) | fraction).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_time_and_their_own_stamp_back() {
        let mut request = [0; PACKET];
        request[0] = 0b0010_0011;
        request[40..48].copy_from_slice(b"whenever");
        let answer = answer(&request, UNIX_EPOCH + Duration::from_millis(1500)).unwrap();
        assert_eq!(answer[0], 0b0010_0100);
        assert_eq!(&answer[24..32], b"whenever");
        assert_eq!(u32::from_be_bytes(answer[40..44].try_into().unwrap()), 2_208_988_801);
        assert_eq!(answer[44..48], [0x80, 0, 0, 0]);
    }

    #[test]
    fn others_get_nothing() {
        assert!(answer(&[0x23; 10], UNIX_EPOCH).is_none());
        assert!(answer(&[0x24; PACKET], UNIX_EPOCH).is_none());
        assert!(answer(&[], UNIX_EPOCH).is_none());
    }
}
