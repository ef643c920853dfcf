//! The TLS handshake of somebody who comes: cheap until the client has said what it wants.
//!
//! Whoever is silent, or says its greeting byte by byte, holds a few kilobytes and leaves first when others come; only one
//! whose greeting is whole costs a key exchange, and of these there are few at a time.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
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

/// The part of a TLS record before its contents: type, version, length (RFC 8446 section 5.1).
const RECORD_HEADER: usize = 5;

/// How hands are shaken at a listener.
pub struct Handshake {
    /// Who we are, and whom we believe.
    pub config: Arc<ServerConfig>,
    /// How long it may take.
    pub limit: Duration,
    /// Tells the kernel how many bytes have to be there before we are woken. A greeting that comes byte by byte then costs
    /// no more than one that comes whole.
    pub wake_at: fn(BorrowedFd<'_>, u16),
}

impl Handshake {
    /// Shakes hands with somebody, unless it has to leave before. `prepare` sees the connection before its first answer.
    ///
    /// # Errors
    /// When the client breaks TLS, takes too long, says too much, or others came meanwhile.
    pub async fn shake(
        self,
        mut stream: TcpStream,
        arrival: &Arrival,
        prepare: impl FnOnce(&mut ServerConnection),
    ) -> io::Result<TlsStream<TcpStream>> {
        let limit = self.limit;
        let shaking = async move {
            let accepted = self.greeting(&mut stream).await?;
            arrival.has_spoken();
            StartHandshake::from_parts(accepted, stream).into_stream_with(self.config, prepare).await
        };
        tokio::select! {
            shaken = timeout(limit, shaking) => shaken?,
            () = arrival.leaves() => Err(io::Error::other("others came while it shook hands")),
        }
    }

    async fn greeting(&self, stream: &mut TcpStream) -> io::Result<Accepted> {
        let (mut acceptor, mut records, mut left) =
            (Acceptor::default(), Records::default(), HELLO_BYTES_MAX);
        loop {
            (self.wake_at)(stream.as_fd(), records.missing());
            let mut bytes = [0; 512];
            let count = stream.read(&mut bytes).await?;
            left = left.checked_sub(count).ok_or_else(|| io::Error::other("its greeting has no end"))?;
            let mut read =
                bytes.get(..count).filter(|read| !read.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
            records.pass(read);
            while !read.is_empty() {
                acceptor.read_tls(&mut read)?;
                match acceptor.accept() {
                    Ok(Some(accepted)) if read.is_empty() => {
                        (self.wake_at)(stream.as_fd(), 1);
                        return Ok(accepted);
                    }
                    // A client says nothing more before it is answered; early data would be refused.
                    Ok(Some(_)) => return Err(io::Error::other("it went on after its greeting")),
                    Ok(None) => {}
                    Err((error, alert)) => return Err(refused(stream, error, alert).await),
                }
            }
        }
    }
}

/// Where in a record of TLS a stream is.
#[derive(Clone, Copy, Debug, Default)]
struct Records {
    header: [u8; RECORD_HEADER],
    /// Bytes of the header that have come.
    headed: usize,
    /// Bytes of the contents that have not.
    left: u16,
}

impl Records {
    /// Bytes have come.
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.left > 0 {
                self.left -= 1;
                continue;
            }
            if let Some(place) = self.header.get_mut(self.headed) {
                *place = *byte;
            }
            self.headed += 1;
            if self.headed == RECORD_HEADER {
                let [_, _, _, high, low] = self.header;
                (self.headed, self.left) = (0, u16::from_be_bytes([high, low]));
            }
        }
    }

    /// How many bytes the record still needs, or the header of the next one; at least one.
    fn missing(&self) -> u16 {
        match self.left {
            0 => (RECORD_HEADER - self.headed) as u16,
            left => left,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_of_a_record_is_known_whatever_pieces_it_comes_in() {
        let mut stream = vec![0x16, 3, 1, 1, 4];
        stream.extend([7; 260]);
        stream.extend([0x16, 3, 3]);
        for piece in [1, 2, 3, 100, stream.len()] {
            let mut records = Records::default();
            let (mut come, mut told) = (0, Vec::new());
            for bytes in stream.chunks(piece) {
                records.pass(bytes);
                come += bytes.len();
                told.push((come, records.missing()));
            }
            for (come, missing) in told {
                let expected = match come {
                    ..5 => 5 - come,
                    5..265 => 265 - come,
                    _ => 270 - come,
                };
                assert_eq!(usize::from(missing), expected, "{come} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn any_bytes_leave_something_to_wait_for() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut records = Records::default();
            records.pass(bytes);
            assert!(records.missing() > 0);
        });
    }
}
