//! Reading without a buffer that outlives the read.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 8 * 1024;

/// Reads what there is, up to 8 KiB, into the stack, and hands it on; no bytes mean the end. A connection on which nothing
/// comes keeps no buffer this way.
///
/// # Errors
/// What the read says.
pub fn poll_piece<R>(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> R,
) -> Poll<io::Result<R>> {
    let mut piece = [MaybeUninit::uninit(); PIECE_BYTES];
    let mut buffer = ReadBuf::uninit(&mut piece);
    ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(take(buffer.filled())))
}
