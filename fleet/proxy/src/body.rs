//! Bodies on their way through: bytes untouched, and an end when the caller may not go on.
//!
//! ```text
//! body of what is behind ─▶ Passing ─▶ client
//!                             ├─ every CHECK: may the caller go on?
//!                             └─ gRPC: a body that breaks off gets the trailers that it lacks
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::Status;
use tonic::body::Body;

/// How often it is looked whether the caller of something that goes on may still do that.
pub const CHECK: Duration = Duration::from_secs(15);

/// Whether a caller may go on.
pub(crate) type Still = Arc<dyn Fn() -> Result<(), Status> + Send + Sync>;

/// Ticks every [`CHECK`], first after one.
pub(crate) fn checks() -> Interval {
    let mut checks = interval_at(Instant::now() + CHECK, CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    checks
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// As it likes.
    Plain,
    /// With trailers, which have not come yet.
    Trailers,
    /// It ends next; the trailers came, or the headers were all of them.
    Told,
    /// It has ended.
    Over,
}

/// Passes a body on and holds what it needs until it is done or dropped.
pub(crate) struct Passing<B> {
    inner: B,
    ending: Ending,
    still: Still,
    checks: Interval,
    _held: Box<dyn Send>,
}

impl<B> Passing<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error,
{
    /// The body of an answer of HTTP. One that breaks off breaks off for the client too.
    pub(crate) fn plain(inner: B, still: Still, held: impl Send + 'static) -> Body {
        Self::with_ending(inner, Ending::Plain, still, held)
    }

    /// The body of an answer of gRPC with these headers. One that breaks off ends with a status, so that the client
    /// sees a call that failed and not a broken connection.
    pub(crate) fn grpc(headers: &HeaderMap, inner: B, still: Still, held: impl Send + 'static) -> Body {
        let is_told = headers.contains_key(Status::GRPC_STATUS);
        Self::with_ending(inner, if is_told { Ending::Told } else { Ending::Trailers }, still, held)
    }

    fn with_ending(inner: B, ending: Ending, still: Still, held: impl Send + 'static) -> Body {
        Body::new(Self { inner, ending, still, checks: checks(), _held: Box::new(held) })
    }
}

impl<B> Passing<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    /// The next frame, as long as the caller may have it.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        while self.checks.poll_tick(cx).is_ready() {
            if let Err(status) = (self.still)() {
                return Poll::Ready(Some(Err(status)));
            }
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(&error))))
    }
}

impl<B> HttpBody for Passing<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.is_end_stream() {
            this.ending = Ending::Over;
            return Poll::Ready(None);
        }
        let ended = match ready!(this.next(cx)) {
            Some(Ok(frame)) => {
                if frame.is_trailers() && this.ending == Ending::Trailers {
                    this.ending = Ending::Told;
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Err(status)) => Some(status),
            None => None,
        };
        let ending = std::mem::replace(&mut this.ending, Ending::Over);
        Poll::Ready(match (ending, ended) {
            (Ending::Plain, Some(status)) => Some(Err(status)),
            (Ending::Trailers, ended) => {
                let cut = || Status::internal("server closed the stream without sending trailers");
                Some(Ok(Frame::trailers(trailers(&ended.unwrap_or_else(cut)))))
            }
            (Ending::Plain | Ending::Told | Ending::Over, _) => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        match self.ending {
            Ending::Over => true,
            Ending::Plain | Ending::Told => self.inner.is_end_stream(),
            Ending::Trailers => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.ending {
            Ending::Plain => self.inner.size_hint(),
            Ending::Trailers | Ending::Told | Ending::Over => SizeHint::default(),
        }
    }
}

/// What becomes of an answer that breaks off.
pub(crate) fn broken(error: &dyn std::error::Error) -> Status {
    Status::unavailable(format!("error reading from server: {}", corten_base::chain(error)))
}

/// The trailers that carry a status.
pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let mut map = HeaderMap::new();
    if status.add_header(&mut map).is_err() {
        map.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
    map
}

/// A call whose caller may go on for ever.
#[cfg(test)]
pub(crate) fn forever() -> Still {
    Arc::new(|| Ok(()))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use tokio::sync::mpsc;
    use tonic::Code;

    use super::*;

    /// Sends what a test sends.
    struct Slow(mpsc::Receiver<Bytes>);

    impl HttpBody for Slow {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            self.0.poll_recv(cx).map(|next| next.map(|data| Ok(Frame::data(data))))
        }
    }

    fn code(trailers: Option<HeaderMap>) -> Code {
        Status::from_header_map(&trailers.expect("trailers")).expect("a status").code()
    }

    async fn ending<B>(headers: &HeaderMap, body: B) -> Option<HeaderMap>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error,
    {
        let collected = Passing::grpc(headers, body, forever(), ()).collect().await.expect("it never breaks");
        collected.trailers().cloned()
    }

    #[tokio::test]
    async fn a_call_that_breaks_off_ends_with_a_status_and_one_that_told_it_ends_as_it_is() {
        let frames: [Result<Frame<Bytes>, std::io::Error>; 2] =
            [Ok(Frame::data(Bytes::from_static(b"x"))), Err(std::io::Error::other("gone"))];
        let broken = StreamBody::new(futures::stream::iter(frames));
        assert_eq!(code(ending(&HeaderMap::new(), broken).await), Code::Unavailable);
        let cut = Full::new(Bytes::from_static(b"x"));
        assert_eq!(code(ending(&HeaderMap::new(), cut).await), Code::Internal);
        let told = trailers(&Status::not_found("gone"));
        assert!(ending(&told, Full::new(Bytes::new())).await.is_none(), "the headers were the trailers");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_may_not_go_on_is_cut_off_while_nothing_happens() {
        let (sender, receiver) = mpsc::channel(1);
        let still: Still = Arc::new(|| Err(Status::unauthenticated("withdrawn")));
        let begun = Instant::now();
        let body = Passing::grpc(&HeaderMap::new(), Slow(receiver), still, ());
        let collected = body.collect().await.expect("it never breaks");
        assert_eq!(code(collected.trailers().cloned()), Code::Unauthenticated);
        assert!((CHECK..CHECK * 2).contains(&begun.elapsed()));
        drop(sender);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_http_is_cut_off_with_an_error() {
        let (_sender, receiver) = mpsc::channel(1);
        let still: Still = Arc::new(|| Err(Status::unauthenticated("withdrawn")));
        let mut body = Passing::plain(Slow(receiver), still, ());
        assert!(body.frame().await.expect("a frame").is_err());
        assert!(body.frame().await.is_none());
    }
}
