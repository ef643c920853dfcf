//! Bodies on their way through: bytes untouched, endings always well-formed.
//!
//! ```text
//! body of the destination ─▶ Relay, holds a place ─▶ client
//!                              └─ gRPC: a body that breaks off gets the trailers that it lacks
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use corten_base::chain;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

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

/// Passes a body on and holds `G` (a stream's place, a task) until it is done or dropped.
struct Relay<B, G> {
    inner: B,
    ending: Ending,
    _held: G,
}

/// What is held is never pinned.
impl<B: Unpin, G> Unpin for Relay<B, G> {}

/// The answer of a gRPC call; `held` is let go of when its body is done or dropped. A body that breaks off, or ends
/// without the trailers that gRPC demands, gets trailers that say so: to the client the call then failed with a code,
/// not with a broken connection.
pub fn grpc<B, G>(response: Response<B>, held: G) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + 'static,
    G: Send + 'static,
{
    let is_told = response.headers().contains_key(Status::GRPC_STATUS);
    let ending = if is_told { Ending::Told } else { Ending::Trailers };
    response.map(|inner| Body::new(Relay { inner, ending, _held: held }))
}

/// The body of an answer of plain HTTP; `held` is let go of when it is done or dropped. One that breaks off breaks off
/// for the client too.
pub fn plain<B, G>(inner: B, held: G) -> Body
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + 'static,
    G: Send + 'static,
{
    Body::new(Relay { inner, ending: Ending::Plain, _held: held })
}

impl<B, G> HttpBody for Relay<B, G>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.is_end_stream() {
            this.ending = Ending::Over;
            return Poll::Ready(None);
        }
        let ended = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if frame.is_trailers() && this.ending == Ending::Trailers {
                    this.ending = Ending::Told;
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Err(error)) => Some(broken(&error)),
            None => None,
        };
        let ending = std::mem::replace(&mut this.ending, Ending::Over);
        Poll::Ready(match (ending, ended) {
            (Ending::Plain, Some(status)) => Some(Err(status)),
            (Ending::Trailers, ended) => Some(Ok(Frame::trailers(trailers(&ended.unwrap_or_else(cut))))),
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

/// What becomes of an answer that breaks off. An error that is a status already stays that.
#[must_use]
pub fn broken(error: &(dyn std::error::Error + 'static)) -> Status {
    let unavailable = || Status::unavailable(format!("error reading from server: {}", chain(error)));
    error.downcast_ref::<Status>().cloned().unwrap_or_else(unavailable)
}

/// What becomes of an answer that ends without saying how.
pub(crate) fn cut() -> Status {
    Status::internal("server closed the stream without sending trailers")
}

/// The trailers that carry a status.
#[must_use]
pub fn trailers(status: &Status) -> HeaderMap {
    let mut map = HeaderMap::new();
    if status.add_header(&mut map).is_err() {
        map.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
    map
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, std::io::Error>>;

    fn broken_off() -> Frames {
        vec![Ok(Frame::data(Bytes::from_static(b"x"))), Err(std::io::Error::other("gone"))]
    }

    async fn ending<B>(headers: &HeaderMap, body: B) -> (Bytes, Option<HeaderMap>)
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + 'static,
    {
        let mut response = Response::new(body);
        *response.headers_mut() = headers.clone();
        let collected = grpc(response, ()).into_body().collect().await.expect("a relay never breaks");
        let trailers = collected.trailers().cloned();
        (collected.to_bytes(), trailers)
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_ends_with_unavailable() {
        let body = StreamBody::new(tokio_stream::iter(broken_off()));
        let (data, trailers) = ending(&HeaderMap::new(), body).await;
        assert_eq!(&data[..], b"x");
        let status = Status::from_header_map(&trailers.expect("trailers")).expect("status");
        assert_eq!(
            (status.code(), status.message()),
            (tonic::Code::Unavailable, "error reading from server: gone")
        );
    }

    #[tokio::test]
    async fn missing_trailers_are_named_and_present_ones_kept() {
        let (_, trailers) = ending(&HeaderMap::new(), Full::new(Bytes::from_static(b"x"))).await;
        assert_eq!(trailers.expect("trailers")[Status::GRPC_STATUS], "13");
        let only = self::trailers(&Status::not_found("gone"));
        let (_, trailers) = ending(&only, Full::new(Bytes::new())).await;
        assert!(trailers.is_none(), "the headers were the trailers");
    }

    #[tokio::test]
    async fn what_is_no_call_of_grpc_breaks_off_for_the_client_too() {
        let mut body = plain(StreamBody::new(tokio_stream::iter(broken_off())), ());
        assert!(body.frame().await.expect("data").is_ok());
        assert_eq!(body.frame().await.expect("a frame").expect_err("gone").code(), tonic::Code::Unavailable);
        assert!(body.frame().await.is_none());
    }
}
