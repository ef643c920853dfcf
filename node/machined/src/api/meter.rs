//! What requests take while they come in: a message is read whole before it is decoded, so that a few of the largest are
//! all that this machine reads at a time.
//!
//! ```text
//! request of one message ─▶ its first part is free ─▶ more takes room that all share ─▶ refused when there is none
//! ```
//!
//! Streams of requests are not counted: what has come is used up as they go, and only administrators send them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use corten_api::rules::{self, Kind};
use corten_relay::{Held, Room};
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// Bytes of a request that are free.
const FREE_BYTES: usize = 64 * 1024;

/// The request, with what it takes counted.
pub fn metered(request: Request<Body>, room: &Room) -> Request<Body> {
    match rules::kind(request.uri().path()) {
        Some(Kind::ClientStream | Kind::Bidirectional) => request,
        _ => request.map(|inner| {
            Body::new(Metered { inner, room: room.clone(), free: FREE_BYTES, held: Held::default() })
        }),
    }
}

/// A body that holds the room that it takes.
struct Metered {
    inner: Body,
    room: Room,
    free: usize,
    held: Held,
}

impl Metered {
    /// Counts what has come.
    fn count(&mut self, bytes: usize) -> Result<(), Status> {
        let paid = bytes.saturating_sub(self.free);
        self.free -= bytes - paid;
        let more = self.room.take(paid).ok_or_else(|| {
            Status::resource_exhausted("this machine reads too many large requests at once; try again")
        })?;
        self.held.merge(more);
        Ok(())
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            self.count(frame.data_ref().map_or(0, Bytes::len))?;
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    const VERSION: &str = "/machine.MachineService/Version";
    const RECOVER: &str = "/machine.MachineService/EtcdRecover";

    fn request(path: &str, bytes: usize) -> Request<Body> {
        let body = Body::new(Full::new(Bytes::from(vec![0; bytes])));
        Request::post(path).body(body).expect("a request")
    }

    #[tokio::test]
    async fn large_requests_share_the_room_and_small_ones_need_none() {
        let room = Room::new(1024);
        let taken = room.take(1024).expect("it is empty");
        let small = metered(request(VERSION, FREE_BYTES), &room).into_body().collect().await;
        assert_eq!(small.expect("free").to_bytes().len(), FREE_BYTES);
        let large = metered(request(VERSION, FREE_BYTES + 1), &room).into_body().collect().await;
        assert_eq!(large.expect_err("no room").code(), tonic::Code::ResourceExhausted);
        let stream = metered(request(RECOVER, FREE_BYTES + 1), &room).into_body().collect().await;
        assert!(stream.is_ok(), "streams of requests are not counted");
        drop(taken);
        let mut large = metered(request(VERSION, FREE_BYTES + 1024), &room).into_body();
        large.frame().await.expect("a frame").expect("there is room");
        assert!(room.take(1).is_none(), "the room is taken until the request is gone");
        drop(large);
        assert!(room.take(1024).is_some());
    }
}
