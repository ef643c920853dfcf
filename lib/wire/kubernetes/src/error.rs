//! What can go wrong, with the server's own words where it had any.

use http::StatusCode;
use serde_json::Value;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server said no.
    #[error("the Kubernetes API refused {method} {path}")]
    Refused {
        /// HTTP method.
        method: String,
        /// Path of the request.
        path: String,
        /// The refusal.
        #[source]
        status: ServerStatus,
    },
    /// The server was not reached, or the connection broke.
    #[error("no answer from the Kubernetes API to {method} {path}")]
    Transport {
        /// HTTP method.
        method: String,
        /// Path of the request.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The call took too long.
    #[error("no answer from the Kubernetes API to {method} {path} within {limit:?}")]
    Deadline {
        /// HTTP method.
        method: String,
        /// Path of the request.
        path: String,
        /// The limit.
        limit: std::time::Duration,
    },
    /// The answer is too large or not what the API promises.
    #[error("the answer of the Kubernetes API is not usable: {0}")]
    Answer(String),
    /// The object lacks what the call needs.
    #[error("not a usable Kubernetes object: {0}")]
    Object(String),
    /// No resource of the server serves this kind.
    #[error("the Kubernetes API serves no {kind} in {api_version}")]
    UnknownKind {
        /// As in the object.
        api_version: String,
        /// As in the object.
        kind: String,
    },
    /// Addresses, certificates or keys that cannot be used.
    #[error("cannot use this Kubernetes configuration: {0}")]
    Config(String),
}

/// A `Status` object.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServerStatus {
    /// HTTP status code.
    pub code: u16,
    /// Word for programs: `NotFound`, `Conflict`, `Expired`, …
    pub reason: String,
    /// Sentence for people.
    pub message: String,
}

impl ServerStatus {
    /// Reads a `Status` object; anything else becomes its own message, cut to a readable length.
    pub(crate) fn from_body(code: StatusCode, body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut message = text("message");
        if message.is_empty() {
            let body: String = String::from_utf8_lossy(body).chars().take(200).collect();
            message = if body.is_empty() { code.to_string() } else { body };
        }
        Self { code: code.as_u16(), reason: text("reason"), message }
    }

    /// Reads the object of a watch's `ERROR` event.
    pub(crate) fn from_object(value: &Value) -> Self {
        let code = value.get("code").and_then(Value::as_u64).and_then(|it| u16::try_from(it).ok());
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { code: code.unwrap_or(500), reason: text("reason"), message: text("message") }
    }
}

impl Error {
    /// HTTP status of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(status.code),
            _ => None,
        }
    }

    /// Whether the object is absent.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether somebody else changed the object, or it exists already.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether the resource version is too old to watch from.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    /// Whether the credentials are not accepted.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        self.code() == Some(401)
    }

    /// Whether the same call may succeed later: the server is away, starting, or busy.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Deadline { .. } => true,
            _ => self.code().is_some_and(|code| code == 429 || code >= 500),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_servers_words_or_cuts_what_is_no_status() {
        let body = br#"{"kind":"Status","reason":"NotFound","message":"pods \"a\" not found","code":404}"#;
        let status = ServerStatus::from_body(StatusCode::NOT_FOUND, body);
        assert_eq!((status.reason.as_str(), status.message.as_str()), ("NotFound", "pods \"a\" not found"));
        let long = vec![b'x'; 10_000];
        assert_eq!(ServerStatus::from_body(StatusCode::BAD_GATEWAY, &long).message.len(), 200);
        assert_eq!(ServerStatus::from_body(StatusCode::BAD_GATEWAY, b"").message, "502 Bad Gateway");
    }
}
