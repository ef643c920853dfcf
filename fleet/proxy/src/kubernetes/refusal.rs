//! Requests that are not passed on, told as a Kubernetes tells it, so that its clients show the text.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;
use tonic::body::Body;

use crate::token::TokenError;

/// Why a request is not passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// Reason, as Kubernetes calls it.
    reason: &'static str,
    message: String,
}

impl Refusal {
    /// Nobody has shown who they are.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, reason: "Unauthorized", message: message.into() }
    }

    /// Too much is under way.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self { status: StatusCode::TOO_MANY_REQUESTS, reason: "TooManyRequests", message: message.into() }
    }

    /// The request cannot be passed on.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: "BadRequest", message: message.into() }
    }

    /// No machine of the control plane takes requests now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        let (status, reason) = (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        Self { status, reason, message: message.into() }
    }

    /// The machine broke off before it answered.
    pub(crate) fn broken(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_GATEWAY, reason: "InternalError", message: message.into() }
    }

    /// The answer.
    pub(crate) fn into_response(self) -> Response<Body> {
        let Self { status, reason, message } = self;
        let object = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": status.as_u16(),
        });
        let mut response = Response::new(Body::new(Full::new(Bytes::from(object.to_string()))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Malformed | TokenError::Unknown | TokenError::Expired => {
                Self::unauthorized(error.to_string())
            }
            TokenError::OtherCluster => {
                Self { status: StatusCode::FORBIDDEN, reason: "Forbidden", message: error.to_string() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn a_refusal_is_a_status_of_kubernetes() {
        for (refusal, code) in [
            (Refusal::from(TokenError::Expired), 401),
            (Refusal::from(TokenError::OtherCluster), 403),
            (Refusal::unavailable("later"), 503),
        ] {
            let response = refusal.into_response();
            assert_eq!(response.status().as_u16(), code);
            assert_eq!(response.headers().contains_key(header::WWW_AUTHENTICATE), code == 401);
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            let object: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!((&object["kind"], &object["code"]), (&json!("Status"), &json!(code)));
        }
    }
}
