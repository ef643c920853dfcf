//! Bodies on their way through: bytes untouched, and an end when the caller may not go on.
//!
//! ```text
//! body of what is behind ─▶ Checked ─▶ Relay (lib/relay) ─▶ client
//!                             └─ every CHECK: may the caller go on?
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use corten_relay::broken;
use http::Response;
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

/// The answer of a call of gRPC; one that breaks off ends with a status. What it needs is held until it is read.
pub(crate) fn grpc<B>(response: Response<B>, still: Still, held: impl Send + 'static) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + 'static,
{
    corten_relay::grpc(response.map(|inner| Checked { inner, still, checks: checks() }), held)
}

/// The body of an answer of HTTP; one that breaks off breaks off for the client too. What it needs is held until it is
/// read.
pub(crate) fn plain<B>(inner: B, still: Still, held: impl Send + 'static) -> Body
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + 'static,
{
    corten_relay::plain(Checked { inner, still, checks: checks() }, held)
}

/// Passes a body on as long as the caller may have it.
struct Checked<B> {
    inner: B,
    still: Still,
    checks: Interval,
}

impl<B> HttpBody for Checked<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        while this.checks.poll_tick(cx).is_ready() {
            if let Err(status) = (this.still)() {
                return Poll::Ready(Some(Err(status)));
            }
        }
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(&error))))
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
    use http_body_util::BodyExt as _;
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

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_may_not_go_on_is_cut_off_while_nothing_happens() {
        let (sender, receiver) = mpsc::channel(1);
        let still: Still = Arc::new(|| Err(Status::unauthenticated("withdrawn")));
        let begun = Instant::now();
        let answer = grpc(Response::new(Slow(receiver)), still, ());
        let collected = answer.into_body().collect().await.expect("it never breaks");
        let status = collected.trailers().and_then(Status::from_header_map).expect("a status");
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "withdrawn"));
        assert!((CHECK..CHECK * 2).contains(&begun.elapsed()));
        drop(sender);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_http_is_cut_off_with_an_error() {
        let (_sender, receiver) = mpsc::channel(1);
        let still: Still = Arc::new(|| Err(Status::unauthenticated("withdrawn")));
        let mut body = plain(Slow(receiver), still, ());
        assert!(body.frame().await.expect("a frame").is_err());
        assert!(body.frame().await.is_none());
    }
}
