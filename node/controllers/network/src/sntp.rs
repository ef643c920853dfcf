//! SNTP (RFC 4330): one question to one server, and how far off it says the clock is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_base::{Clock, Rng};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Bytes of a packet without extensions.
const PACKET: usize = 48;
/// UDP port of time servers.
const PORT: u16 = 123;
/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds between NTP's epoch (1900) and Unix's.
const EPOCH_OFFSET: u64 = 2_208_988_800;
/// A server farther from a reference clock than this is not believed.
const STRATUM_MAX: u8 = 15;
/// A server whose own error is larger than this is not believed.
const ROOT_DISTANCE_MAX: Duration = Duration::from_secs(3);

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeReply {
    /// Address that answered.
    pub server: IpAddr,
    /// Clock here when the answer arrived.
    pub local_time: SystemTime,
    /// Clock there at that moment.
    pub remote_time: SystemTime,
    /// How much our clock is behind (positive) or ahead, in nanoseconds.
    pub offset_ns: i64,
    /// Travel time of question and answer.
    pub round_trip: Duration,
    /// How many servers are between it and a reference clock.
    pub stratum: u8,
}

/// A packet that is no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too short, or not from a server.
    #[error("the packet is not an answer of a time server")]
    NotAnAnswer,
    /// It answers another question.
    #[error("the answer is to another question")]
    NotOurs,
    /// The server does not know the time.
    #[error("the server is not synchronized itself")]
    Unsynchronized,
    /// Times that cannot be.
    #[error("the times in the answer contradict each other")]
    Contradiction,
}

/// The answer's times, as nanoseconds since the Unix epoch where they are times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When the server got the question.
    pub received_ns: i128,
    /// When it sent the answer.
    pub sent_ns: i128,
    /// Its distance from a reference clock.
    pub stratum: u8,
}

fn bytes<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at + N)?.try_into().ok()
}

/// An NTP timestamp as nanoseconds since the Unix epoch; the era is the one that begins before 2036 or, for small
/// numbers, after.
fn timestamp(raw: [u8; 8]) -> Option<i128> {
    let value = u64::from_be_bytes(raw);
    if value == 0 {
        return None;
    }
    let (seconds, fraction) = (value >> 32, value & 0xffff_ffff);
    let era = if seconds >> 31 == 0 { 1_u64 << 32 } else { 0 };
    let nanos = (u128::from(fraction) * 1_000_000_000) >> 32;
    Some(
        (i128::from(seconds + era) - i128::from(EPOCH_OFFSET)) * 1_000_000_000
            + i128::try_from(nanos).ok()?,
    )
}

/// A fixed-point number of 16.16 seconds.
fn short(raw: [u8; 4]) -> Duration {
    Duration::from_nanos((u64::from(u32::from_be_bytes(raw)) * 1_000_000_000) >> 16)
}

/// The question: its transmit time is a random number, which only the asked server can repeat.
#[must_use]
pub fn question(cookie: u64) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[0] = 0x23;
    packet[40..48].copy_from_slice(&cookie.to_be_bytes());
    packet
}

/// Parses an answer to [`question`].
///
/// # Errors
/// When it must not be believed, with the reason.
pub fn parse(packet: &[u8], cookie: u64) -> Result<Answer, Refused> {
    let head: [u8; 4] = bytes(packet, 0).ok_or(Refused::NotAnAnswer)?;
    if packet.len() < PACKET || head[0] & 0x07 != 4 {
        return Err(Refused::NotAnAnswer);
    }
    if bytes(packet, 24) != Some(cookie.to_be_bytes()) {
        return Err(Refused::NotOurs);
    }
    let stratum = head[1];
    let delay = short(bytes(packet, 4).ok_or(Refused::NotAnAnswer)?);
    let dispersion = short(bytes(packet, 8).ok_or(Refused::NotAnAnswer)?);
    let leap_unknown = head[0] >> 6 == 3;
    if leap_unknown || stratum == 0 || stratum > STRATUM_MAX || delay / 2 + dispersion > ROOT_DISTANCE_MAX {
        return Err(Refused::Unsynchronized);
    }
    let received_ns = bytes(packet, 32).and_then(timestamp).ok_or(Refused::Unsynchronized)?;
    let sent_ns = bytes(packet, 40).and_then(timestamp).ok_or(Refused::Unsynchronized)?;
    if sent_ns < received_ns {
        return Err(Refused::Contradiction);
    }
    Ok(Answer { received_ns, sent_ns, stratum })
}

/// Offset and round trip from the four times (RFC 4330 section 5), all in nanoseconds since the Unix epoch.
#[must_use]
pub fn evaluate(asked_ns: i128, answer: &Answer, heard_ns: i128) -> (i64, Duration) {
    let offset = ((answer.received_ns - asked_ns) + (answer.sent_ns - heard_ns)) / 2;
    let round_trip = (heard_ns - asked_ns) - (answer.sent_ns - answer.received_ns);
    let clamp = |value: i128| i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX });
    (clamp(offset), Duration::from_nanos(u64::try_from(round_trip.max(0)).unwrap_or(u64::MAX)))
}

fn unix_ns(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    }
}

/// `time` moved by an offset.
#[must_use]
pub fn shifted(time: SystemTime, offset_ns: i64) -> SystemTime {
    let by = Duration::from_nanos(offset_ns.unsigned_abs());
    let moved = if offset_ns < 0 { time.checked_sub(by) } else { time.checked_add(by) };
    moved.unwrap_or(time)
}

/// Asks a server for the time. The clock here is read, never set.
///
/// # Errors
/// When it does not answer in time, or not in a way that can be believed.
pub async fn query(server: IpAddr, clock: &Clock, rng: &Rng) -> io::Result<TimeReply> {
    query_at((server, PORT).into(), clock, rng).await
}

/// [`query`] for a server on another port.
///
/// # Errors
/// As for [`query`].
pub async fn query_at(server: SocketAddr, clock: &Clock, rng: &Rng) -> io::Result<TimeReply> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    let cookie = u64::from_be_bytes(rng.bytes());
    let asked = clock.now();
    socket.send(&question(cookie)).await?;
    let answer = async {
        let mut buffer = [0; 512];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let heard = clock.now();
            match parse(&buffer[..length], cookie) {
                Err(Refused::NotAnAnswer | Refused::NotOurs) => {}
                Err(refused) => return Err(io::Error::other(refused)),
                Ok(answer) => return Ok((answer, heard)),
            }
        }
    };
    let (answer, heard) = timeout(PATIENCE, answer).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let (offset_ns, round_trip) = evaluate(unix_ns(asked), &answer, unix_ns(heard));
    Ok(TimeReply {
        server: server.ip(),
        local_time: heard,
        remote_time: shifted(heard, offset_ns),
        offset_ns,
        round_trip,
        stratum: answer.stratum,
    })
}

#[cfg(test)]
mod tests {
    use corten_base::spawn;

    use super::*;

    /// An answer with a clock that is at `seconds` since 1900.
    fn answer(question: &[u8], seconds: u32) -> Vec<u8> {
        let mut packet = vec![0; PACKET];
        packet[0] = 0x24;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&question[40..48]);
        packet[32..36].copy_from_slice(&seconds.to_be_bytes());
        packet[39] = 1;
        packet[40..44].copy_from_slice(&seconds.to_be_bytes());
        packet[47] = 2;
        packet
    }

    fn ntp_seconds(unix: u64) -> u32 {
        u32::try_from((unix + EPOCH_OFFSET) & 0xffff_ffff).expect("32 bits")
    }

    #[tokio::test]
    async fn a_server_ten_seconds_ahead() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let server = socket.local_addr().expect("an address");
        let clock = Clock::fixed(1_700_000_000);
        let _server = spawn("time-server", async move {
            let mut buffer = [0; 64];
            let (length, client) = socket.recv_from(&mut buffer).await.expect("receive");
            socket.send_to(b"noise", client).await.expect("send");
            socket
                .send_to(&answer(&buffer[..length], ntp_seconds(1_700_000_010)), client)
                .await
                .expect("send");
        });
        let reply = query_at(server, &clock, &Rng::seeded(1)).await.expect("an answer");
        assert_eq!((reply.offset_ns / 1_000_000_000, reply.stratum), (10, 2));
        assert!(reply.remote_time >= UNIX_EPOCH + Duration::from_secs(1_700_000_010));
    }

    #[test]
    fn answers_that_must_not_be_believed() {
        let question = question(7);
        let good = answer(&question, ntp_seconds(1_700_000_000));
        assert!(parse(&good, 7).is_ok());
        assert_eq!(parse(&good, 8), Err(Refused::NotOurs));
        let with = |at: usize, value: u8| {
            let mut packet = good.clone();
            packet[at] = value;
            parse(&packet, 7)
        };
        assert_eq!(with(0, 0x23), Err(Refused::NotAnAnswer));
        assert_eq!(with(0, 0xe4), Err(Refused::Unsynchronized));
        assert_eq!(with(1, 0), Err(Refused::Unsynchronized), "a kiss of death");
        assert_eq!(with(9, 0xff), Err(Refused::Unsynchronized), "255 s of dispersion");
        assert_eq!(with(32, 0xff), Err(Refused::Contradiction));
    }

    #[test]
    fn time_goes_on_after_2036() {
        let raw = |seconds: u32| {
            let mut raw = [0; 8];
            raw[..4].copy_from_slice(&seconds.to_be_bytes());
            timestamp(raw).map(|ns| ns / 1_000_000_000)
        };
        assert_eq!(raw(ntp_seconds(2_085_978_495)), Some(2_085_978_495));
        assert_eq!(raw(1), Some(2_085_978_497));
    }

    #[test]
    fn any_packet_is_survived() {
        bolero::check!().with_type::<(Vec<u8>, u64)>().for_each(|(packet, cookie)| {
            let _ = parse(packet, *cookie);
            let mut forged = packet.clone();
            forged.resize(PACKET, 0);
            forged[24..32].copy_from_slice(&cookie.to_be_bytes());
            if let Ok(answer) = parse(&forged, *cookie) {
                let (offset, _) = evaluate(0, &answer, 1);
                let _ = shifted(UNIX_EPOCH, offset);
            }
        });
    }
}
