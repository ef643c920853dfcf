//! What can go wrong, by kind, so that callers need not know gRPC.

/// A failed call, with what was asked and of which object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket does not answer.
    #[error("cannot connect to containerd at `{socket}`")]
    Connect {
        /// Path of the socket.
        socket: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// containerd refused or failed.
    #[error("containerd could not {operation} `{object}`")]
    Call {
        /// What was asked.
        operation: &'static str,
        /// Of which image, container or blob.
        object: String,
        /// The answer.
        #[source]
        status: Box<tonic::Status>,
    },
    /// The answer does not make sense.
    #[error("containerd's answer about `{object}` is not usable: {reason}")]
    Answer {
        /// Which object.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive to import could not be read.
    #[error("cannot read the image archive")]
    Archive(#[source] std::io::Error),
    /// A layer could not be put where containerd looks for it.
    #[error("cannot make a layer of the folder `{folder}`", folder = folder.display())]
    Layer {
        /// The layer's files.
        folder: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The operation did not end within its limit.
    #[error("containerd did not {operation} `{object}` within {limit:?}")]
    Deadline {
        /// What was asked.
        operation: &'static str,
        /// Of which object.
        object: String,
        /// The limit.
        limit: std::time::Duration,
    },
}

/// Kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such object.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// Not possible in the present state.
    Precondition,
    /// The request is wrong.
    Invalid,
    /// The daemon is away; nothing is known about the object.
    Unavailable,
    /// Anything else.
    Other,
}

impl Error {
    pub(crate) fn call(operation: &'static str, object: &str) -> impl FnOnce(tonic::Status) -> Self + use<> {
        let object = object.to_owned();
        move |status| Self::Call { operation, object, status: Box::new(status) }
    }

    pub(crate) fn answer(object: &str, reason: impl Into<String>) -> Self {
        Self::Answer { object: object.to_owned(), reason: reason.into() }
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Connect { .. } => Kind::Unavailable,
            Self::Call { status, .. } => kind_of(status),
            Self::Answer { .. } | Self::Archive(_) | Self::Layer { .. } | Self::Deadline { .. } => {
                Kind::Other
            }
        }
    }

    /// Whether the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == Kind::NotFound
    }
}

/// A connection that broke in the middle shows as `Unknown` with a transport error as its cause.
fn kind_of(status: &tonic::Status) -> Kind {
    use tonic::Code;
    match status.code() {
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::AlreadyExists,
        Code::FailedPrecondition => Kind::Precondition,
        Code::InvalidArgument => Kind::Invalid,
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => Kind::Unavailable,
        Code::Unknown | Code::Internal if std::error::Error::source(status).is_some() => Kind::Unavailable,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_operation_and_object_and_keeps_the_cause() {
        let error = Error::call("remove image", "pause:3")(tonic::Status::not_found("no such image"));
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "containerd could not remove image `pause:3`");
        assert!(corten_base::chain(&error).contains("no such image"));
    }

    #[test]
    fn a_broken_connection_is_unavailable() {
        let mut status = tonic::Status::unknown("transport error");
        status.set_source(std::sync::Arc::new(std::io::Error::other("broken pipe")));
        assert_eq!(kind_of(&status), Kind::Unavailable);
        assert_eq!(kind_of(&tonic::Status::unknown("runc failed")), Kind::Other);
    }
}
