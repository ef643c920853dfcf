//! What can go wrong.

use tonic::Code;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// URLs, certificates or keys that cannot be used.
    #[error("cannot use this etcd configuration: {0}")]
    Config(String),
    /// etcd refused, failed or did not answer.
    #[error("etcd could not {operation}")]
    Call {
        /// What was asked.
        operation: &'static str,
        /// The answer.
        #[source]
        status: Box<tonic::Status>,
    },
    /// The answer does not make sense.
    #[error("etcd's answer is not usable: {0}")]
    Answer(String),
    /// The lease behind a lock has ended.
    #[error("the lock `{0}` was lost")]
    LockLost(String),
}

impl Error {
    pub(crate) fn call(operation: &'static str) -> impl FnOnce(tonic::Status) -> Self {
        move |status| Self::Call { operation, status: Box::new(status) }
    }

    fn code(&self) -> Option<Code> {
        match self {
            Self::Call { status, .. } => Some(status.code()),
            _ => None,
        }
    }

    /// Whether the member or lease is not known.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(Code::NotFound)
    }

    /// Whether the cluster's state forbids it now: a learner that lags behind, a quorum at risk.
    #[must_use]
    pub fn is_precondition(&self) -> bool {
        self.code() == Some(Code::FailedPrecondition)
    }

    /// Whether the database has reached its quota: nothing is written until somebody makes room and takes the alarm back.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Call { status, .. } => status.message().contains("database space exceeded"),
            _ => false,
        }
    }

    /// Whether the answer has more bytes than are taken at once.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        match self {
            Self::Call { status, .. } => {
                status.code() == Code::OutOfRange && status.message().contains("message length too large")
            }
            _ => false,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Call { status, .. } => match status.code() {
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted => {
                    true
                }
                Code::Unknown | Code::Internal => std::error::Error::source(&**status).is_some(),
                _ => false,
            },
            _ => false,
        }
    }
}
