//! The TLS handshake of somebody who comes: cheap until the client has said what it wants.
//!
//! Whoever is silent, or says its greeting byte by byte, holds a few kilobytes and leaves first when others come; only one
//! whose greeting is whole costs a key exchange, and of these there are few at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use crate::guests::Arrival;

/// Bytes of a client's greeting (`ClientHello`, RFC 8446 section 4.1.2). Those of Go and rustls are below 2 KiB, also with
/// a key share against quantum computers.
const HELLO_BYTES_MAX: usize = 8 * 1024;

/// Shakes hands within `limit`, unless the arrival has to leave before.
///
/// `prepare` sees the connection before its first answer.
///
/// # Errors
/// When the client breaks TLS, takes too long, says too much, or others came meanwhile.
pub async fn shake_hands(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    arrival: &Arrival,
    limit: Duration,
    prepare: impl FnOnce(&mut ServerConnection),
) -> io::Result<TlsStream<TcpStream>> {
    let shaking = async {
        let accepted = greeting(&mut stream).await?;
        arrival.has_spoken();
        StartHandshake::from_parts(accepted, stream).into_stream_with(config, prepare).await
    };
    tokio::select! {
        shaken = timeout(limit, shaking) => shaken?,
        () = arrival.leaves() => Err(io::Error::other("others came while it shook hands")),
    }
}

async fn greeting(stream: &mut TcpStream) -> io::Result<Accepted> {
    let (mut acceptor, mut left) = (Acceptor::default(), HELLO_BYTES_MAX);
    loop {
        let mut bytes = [0; 512];
        let count = stream.read(&mut bytes).await?;
        left = left.checked_sub(count).ok_or_else(|| io::Error::other("its greeting has no end"))?;
        let mut read =
            bytes.get(..count).filter(|read| !read.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
        while !read.is_empty() {
            acceptor.read_tls(&mut read)?;
            match acceptor.accept() {
                Ok(Some(accepted)) if read.is_empty() => return Ok(accepted),
                // A client says nothing more before it is answered; early data would be refused.
                Ok(Some(_)) => return Err(io::Error::other("it went on after its greeting")),
                Ok(None) => {}
                Err((error, alert)) => return Err(refused(stream, error, alert).await),
            }
        }
    }
}

/// Tells the client why, as far as its socket takes it at once.
async fn refused(stream: &mut TcpStream, error: rustls::Error, mut alert: AcceptedAlert) -> io::Error {
    let mut bytes = Vec::new();
    match alert.write_all(&mut bytes) {
        Ok(()) => match stream.write_all(&bytes).await {
            Ok(()) => io::Error::new(io::ErrorKind::InvalidData, error),
            Err(broken) => broken,
        },
        Err(unwritten) => unwritten,
    }
}
