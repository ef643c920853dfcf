//! Bodies on their way through: bytes untouched, endings always well-formed.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// Passes a body on and holds `G` (a stream's place, a task) until it is done or dropped.
///
/// A body that breaks off, or ends without the trailers that gRPC demands, gets trailers that say so: to the client
/// the call then failed with a code, not with a broken connection.
#[derive(Debug)]
pub struct Relay<B, G> {
    inner: B,
    trailers: Trailers,
    _held: G,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trailers {
    Expected,
    Done,
}

impl<B, G> Relay<B, G>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error,
    G: Send + Unpin + 'static,
{
    /// The body of a response with `headers`.
    pub fn response(headers: &HeaderMap, inner: B, held: G) -> Body {
        let done = headers.contains_key(Status::GRPC_STATUS);
        Body::new(Self {
            inner,
            trailers: if done { Trailers::Done } else { Trailers::Expected },
            _held: held,
        })
    }
}

impl<B, G> HttpBody for Relay<B, G>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
    G: Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.trailers == Trailers::Done && this.inner.is_end_stream() {
            return Poll::Ready(None);
        }
        let ending = match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if frame.is_trailers() {
                    this.trailers = Trailers::Done;
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Err(error)) => {
                Status::unavailable(format!("error reading from server: {}", corten_base::chain(&error)))
            }
            None => Status::internal("server closed the stream without sending trailers"),
        };
        if this.trailers == Trailers::Done {
            return Poll::Ready(None);
        }
        this.trailers = Trailers::Done;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&ending)))))
    }

    fn is_end_stream(&self) -> bool {
        self.trailers == Trailers::Done && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The trailers that carry `status`.
#[must_use]
pub fn trailers(status: &Status) -> HeaderMap {
    let mut map = HeaderMap::new();
    if status.add_header(&mut map).is_err() {
        map.insert(Status::GRPC_STATUS, http::HeaderValue::from(status.code() as i32));
    }
    map
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    async fn ending<B>(headers: &HeaderMap, body: B) -> (Bytes, Option<HeaderMap>)
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error,
    {
        let collected = Relay::response(headers, body, ()).collect().await.expect("a relay never breaks");
        let trailers = collected.trailers().cloned();
        (collected.to_bytes(), trailers)
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_ends_with_unavailable() {
        let frames = [Ok(Frame::data(Bytes::from_static(b"x"))), Err(std::io::Error::other("gone"))];
        let (data, trailers) = ending(&HeaderMap::new(), StreamBody::new(tokio_stream::iter(frames))).await;
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
}
