//! One question to one upstream, over UDP or TCP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use corten_base::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::wire::{self, Question, UDP_MAX};

/// How long one upstream may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams: answers may be cut.
    Udp,
    /// A stream: answers are whole.
    Tcp,
}

/// Asks `upstream`; the answer carries the id of `query` again.
///
/// # Errors
/// When nothing that answers the question arrives in time.
pub async fn ask(
    upstream: SocketAddr,
    transport: Transport,
    query: &[u8],
    question: &Question,
    rng: &Rng,
) -> io::Result<Vec<u8>> {
    let exchange = async {
        match transport {
            Transport::Udp => over_udp(upstream, query, question, rng).await,
            Transport::Tcp => over_tcp(upstream, query, question).await,
        }
    };
    timeout(PATIENCE, exchange).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// A fresh socket and a fresh id for each query: both must be guessed by who wants to forge an answer.
async fn over_udp(upstream: SocketAddr, query: &[u8], question: &Question, rng: &Rng) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(upstream).await?;
    let id = u16::from_be_bytes(rng.bytes());
    let mut own = query.to_vec();
    wire::set_id(&mut own, id);
    socket.send(&own).await?;
    let mut buffer = vec![0; UDP_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = &mut buffer[..length];
        if wire::id(answer) == Some(id) && wire::answers(answer, question) {
            wire::set_id(answer, wire::id(query).unwrap_or_default());
            return Ok(answer.to_vec());
        }
    }
}

async fn over_tcp(upstream: SocketAddr, query: &[u8], question: &Question) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    write_message(&mut stream, query).await?;
    let answer = read_message(&mut stream).await?;
    if wire::id(&answer) == wire::id(query) && wire::answers(&answer, question) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Writes a message with its length in front (RFC 1035 4.2.2).
///
/// # Errors
/// When the stream fails or the message is longer than a stream can carry.
pub async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend(length.to_be_bytes());
    framed.extend(message);
    stream.write_all(&framed).await
}

/// Reads a message with its length in front.
///
/// # Errors
/// When the stream ends or fails.
pub async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
