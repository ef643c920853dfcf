//! What requests take while they come in, and answers while nobody reads them: a message is there whole before it is
//! decoded, and after it is encoded, so that a few of the largest are all that this machine has at a time.
//!
//! ```text
//! request of one message ─▶ its first part is free ─▶ more takes room that all share ─▶ refused when there is none
//! answer ─▶ a small message is free ─▶ a larger one takes room until all its pieces are taken ─▶ refused as well
//! ```
//!
//! Streams of requests are not counted: what has come is used up as they go, and only administrators send them. A request
//! that holds room has to come in time; an answer may be read as slowly as its reader likes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use corten_api::rules::{self, Kind};
use corten_relay::{Held, Room};
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

/// Bytes of a request, and of a message of an answer, that are free.
const FREE_BYTES: usize = 64 * 1024;
/// Time for a request that holds room.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// Bytes of an answer that are handed on at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// The request, with what it takes counted.
pub fn metered(request: Request<Body>, room: &Room) -> Request<Body> {
    match rules::kind(request.uri().path()) {
        Some(Kind::ClientStream | Kind::Bidirectional) => request,
        _ => request.map(|inner| {
            let (room, held) = (room.clone(), Held::default());
            Body::new(Metered { inner, room, free: FREE_BYTES, held, late: None })
        }),
    }
}

/// The answer, with what it takes counted.
pub fn metered_answer(answer: Response<Body>, room: &Room) -> Response<Body> {
    let room = room.clone();
    answer.map(|inner| {
        Body::new(Answer { inner, room, rest: Bytes::new(), held: Held::default(), is_over: false })
    })
}

fn crowded(what: &str) -> Status {
    Status::resource_exhausted(format!("this machine {what} at once; try again"))
}

/// A request that holds the room that it takes.
struct Metered {
    inner: Body,
    room: Room,
    free: usize,
    held: Held,
    /// When it has held room for too long.
    late: Option<Pin<Box<Sleep>>>,
}

impl Metered {
    /// Counts what has come.
    fn count(&mut self, bytes: usize) -> Result<(), Status> {
        let paid = bytes.saturating_sub(self.free);
        self.free -= bytes - paid;
        if paid > 0 {
            let more = self.room.take(paid).ok_or_else(|| crowded("reads too many large requests"))?;
            self.held.merge(more);
            self.late.get_or_insert_with(|| Box::pin(sleep(REQUEST_MAX)));
        }
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
        if let Some(late) = &mut self.late
            && late.as_mut().poll(context).is_ready()
        {
            let late = Status::deadline_exceeded("the request did not come in time");
            return Poll::Ready(Some(Err(late)));
        }
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

/// An answer that holds the room that its large messages take, until they are handed on piece by piece.
struct Answer {
    inner: Body,
    room: Room,
    rest: Bytes,
    held: Held,
    is_over: bool,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(context)).transpose()?;
            let Some(frame) = frame else { return Poll::Ready(None) };
            match frame.into_data() {
                Ok(data) if data.len() > FREE_BYTES => {
                    let Some(held) = self.room.take(data.len()) else {
                        self.is_over = true;
                        let status = crowded("holds too many large answers");
                        return Poll::Ready(Some(Ok(Frame::trailers(corten_relay::trailers(&status)))));
                    };
                    (self.rest, self.held) = (data, held);
                }
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        // A copy: whoever does not read the last piece would keep the whole message in memory, and no room for it.
        let piece = Bytes::copy_from_slice(self.rest.get(..length).unwrap_or_default());
        self.rest.advance(length);
        if self.rest.is_empty() {
            (self.rest, self.held) = Default::default();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || (self.rest.is_empty() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use http_body_util::{BodyExt as _, Full, StreamBody};

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

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_come_lets_go_of_its_room() {
        let room = Room::new(1024);
        let begin = Ok::<_, Status>(Frame::data(Bytes::from(vec![0; FREE_BYTES + 1024])));
        let frames = futures::stream::iter([begin]).chain(futures::stream::pending());
        let request = Request::post(VERSION).body(Body::new(StreamBody::new(frames))).expect("a request");
        let late = metered(request, &room).into_body().collect().await;
        assert_eq!(late.expect_err("late").code(), tonic::Code::DeadlineExceeded);
        assert!(room.take(1024).is_some());
    }

    #[tokio::test]
    async fn large_answers_that_nobody_reads_share_the_room_and_small_ones_need_none() {
        const LARGE: usize = 3 * FREE_BYTES + 1;
        let room = Room::new(LARGE);
        let answer = |bytes: usize| {
            let body = Body::new(Full::new(Bytes::from(vec![7; bytes])));
            metered_answer(Response::new(body), &room).into_body()
        };
        let mut unread = answer(LARGE);
        let first = unread.frame().await.expect("a frame").expect("there is room").into_data().expect("data");
        assert!(first.len() < LARGE && first.is_unique() && room.take(1).is_none());
        let refused = answer(LARGE).collect().await.expect("it ends well");
        let status = refused.trailers().and_then(Status::from_header_map).expect("a status");
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(refused.to_bytes().is_empty());
        assert_eq!(answer(FREE_BYTES).collect().await.expect("free").to_bytes().len(), FREE_BYTES);
        let rest = unread.collect().await.expect("the rest").to_bytes();
        assert_eq!(first.len() + rest.len(), LARGE);
        assert!(room.take(LARGE).is_some());
    }
}
