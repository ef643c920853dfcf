//! The protocol on a socket.

use std::io;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::codec::{FramedRead, LinesCodec};

use super::answer;
use crate::emulator::Emulator;

/// Longest line, bytes.
const LINE_MAX: usize = 64 * 1024;

/// Answers lines on a socket, for ever. A socket that an earlier emulator left is replaced.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve(emulator: Arc<Emulator>, path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let emulator = Arc::clone(&emulator);
                connections.spawn(async move {
                    if let Err(error) = connection(&emulator, stream).await {
                        tracing::debug!(error = %error, "a control connection ended");
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(emulator: &Emulator, stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = FramedRead::new(read, LinesCodec::new_with_max_length(LINE_MAX));
    while let Some(line) = lines.next().await {
        let line = line.map_err(io::Error::other)?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = answer(emulator, &line) + "\n";
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
