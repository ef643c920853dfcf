//! Side channels of a transfer: bytes of an archive out, progress in, credentials on request.

use std::pin::pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use prost::Message;
use prost_types::Any;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::client::{MESSAGE, Namespace};
use crate::error::Error;
use crate::wire::Named;
use crate::wire::containerd::services::streaming::v1::{StreamInit, streaming_client::StreamingClient};
use crate::wire::containerd::types::transfer::{Data, WindowUpdate};

/// The largest piece of an archive in one message: what the daemon's own clients send.
const CHUNK: usize = 32 << 10;

/// An open side channel; the transfer names it by `id`.
pub(crate) struct Channel {
    pub(crate) id: String,
    outgoing: mpsc::Sender<Any>,
    incoming: Streaming<Any>,
}

impl Namespace {
    /// Opens a channel and waits until the daemon has registered it.
    pub(crate) async fn open_channel(&self, purpose: &'static str) -> Result<Channel, Error> {
        let id = self.unique(purpose);
        let failed = || Error::call("open a stream for", purpose);
        let (outgoing, receiver) = mpsc::channel(4);
        // The queue is empty and its other end is held, so the first message always fits.
        let _ = outgoing.try_send(pack(&StreamInit { id: id.clone() }));
        let mut incoming = StreamingClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE)
            .stream(self.open(ReceiverStream::new(receiver)))
            .await
            .map_err(failed())?
            .into_inner();
        match incoming.message().await.map_err(failed())? {
            Some(_) => Ok(Channel { id, outgoing, incoming }),
            None => Err(Error::answer(purpose, "the stream ended before it began")),
        }
    }
}

impl Channel {
    /// The next message, or `None` after the daemon closed the channel.
    pub(crate) async fn next(&mut self) -> Option<Any> {
        self.incoming.message().await.ok().flatten()
    }

    /// Sends a message; a closed channel is not an error, the transfer itself tells why.
    pub(crate) async fn send<M: Message + Named>(&self, message: &M) -> bool {
        self.outgoing.send(pack(message)).await.is_ok()
    }

    /// Sends a whole archive as fast as the daemon's window allows, then closes.
    ///
    /// Ends early without error when the daemon has read enough.
    pub(crate) async fn send_all<S>(mut self, archive: S) -> Result<(), Error>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send,
    {
        let mut archive = pin!(archive);
        let mut window = 0_usize;
        while let Some(piece) = archive.next().await {
            let mut piece = piece.map_err(Error::Archive)?;
            while !piece.is_empty() {
                while window == 0 {
                    let Some(update) = self.next().await else { return Ok(()) };
                    window = unpack::<WindowUpdate>(&update)
                        .map_or(0, |it| usize::try_from(it.update).unwrap_or(0));
                }
                let data = piece.split_to(piece.len().min(window).min(CHUNK));
                window -= data.len();
                if !self.send(&Data { data }).await {
                    return Ok(());
                }
            }
        }
        // Only our direction ends: dropping both would cancel what the daemon has not read yet.
        let Self { outgoing, mut incoming, .. } = self;
        drop(outgoing);
        while let Ok(Some(_)) = incoming.message().await {}
        Ok(())
    }
}

/// Wraps a message under its full name, as containerd's type registry wants it.
pub(crate) fn pack<M: Message + Named>(message: &M) -> Any {
    Any { type_url: M::NAME.to_owned(), value: message.encode_to_vec() }
}

/// The message inside, when it is of this type.
pub(crate) fn unpack<M: Message + Named + Default>(any: &Any) -> Option<M> {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    if name == M::NAME { M::decode(any.value.as_slice()).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_under_the_full_name_and_unpacks_only_its_own_type() {
        let any = pack(&WindowUpdate { update: 7 });
        assert_eq!(any.type_url, "containerd.types.transfer.WindowUpdate");
        assert_eq!(unpack::<WindowUpdate>(&any).unwrap().update, 7);
        assert!(unpack::<Data>(&any).is_none());
    }
}
