//! Why a machine is not let in, as the caller is told.

use std::error::Error;

/// Kind of a refusal. Each has the gRPC status code of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The call names no machine or no key.
    InvalidArgument,
    /// A token is missing, wrong, or not worth anything any more.
    PermissionDenied,
    /// The system of the machine is too old for the policy.
    FailedPrecondition,
    /// The link of the machine is on its way out.
    AlreadyExists,
    /// There are as many machines as there may be.
    ResourceExhausted,
    /// The infrastructure provider of the machine is not registered.
    NotFound,
    /// Something failed that the caller can do nothing about.
    Internal,
}

/// An answer that lets nobody in. The message says what to do, and never contains a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Kind.
    pub code: Code,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl Refusal {
    /// A refusal with its message.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A refusal because a token cannot be read.
    #[must_use]
    pub fn unreadable(error: &dyn Error) -> Self {
        Self::new(Code::PermissionDenied, corten_base::chain(error))
    }

    /// What the caller is told when the store, the randomness or WireGuard failed. The cause is for the manager's log.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(Code::Internal, "the manager failed to answer; its log says why; the machine calls again")
    }
}
