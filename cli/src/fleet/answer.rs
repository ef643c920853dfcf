//! What an answer of the manager, or its absence, means to a person.

use std::fmt::Display;

use corten_resource::{ErrorKind, StateError};
use tonic::{Code, Response, Status};

use crate::failure::{Cause, Failure, OrFail as _};
use crate::status::{chain, is_connection, name};

const ROLE: &str =
    "the role of this service account does not suffice; an administrator can give it another one";
const KEY: &str = "is the key in OMNI_SERVICE_ACCOUNT_KEY still valid, is it of this manager, and is the clock right?\n\
    `corten fleet config info` shows who calls, and whom";
const CLOCK: &str = "is the clock right, here and there?";

/// Texts inside a failed connection, what each means, and what to do.
const CONNECTIONS: &[(&str, &str, &str)] = &[
    (
        "UnknownIssuer",
        "no authority that is trusted here signed the certificate of the manager",
        "name a file with its authority in SSL_CERT_FILE, or accept any with --insecure-skip-tls-verify",
    ),
    ("certificate expired", "the certificate of the manager has expired", CLOCK),
    ("certificate not valid yet", "the certificate of the manager is not valid yet", CLOCK),
    (
        "not valid for name",
        "the certificate of the manager is for other names",
        "use one of the names that it has",
    ),
    (
        "InvalidContentType",
        "the other side speaks no TLS",
        "is it the right port? an address without TLS begins with grpc:// or http://",
    ),
    (
        "frame with invalid size",
        "the other side does not speak gRPC in the clear",
        "is it the right port? an address with TLS begins with grpcs:// or https://",
    ),
    ("Connection refused", "nothing listens there", "is the address right, and does the manager run?"),
    ("timed out", "no answer", "is the address right, and does a firewall let it pass?"),
    ("no such host", "the name is unknown", "is the name right?"),
];

/// Why the manager refused, or was not reached.
pub fn refused(status: Status) -> Cause {
    let chain = chain(&status);
    if is_connection(&status) {
        return match CONNECTIONS.iter().find(|(text, ..)| chain.contains(text)) {
            Some((_, meaning, way_out)) => Cause::new(format!("{meaning}: {chain}")).way_out(*way_out),
            None => Cause::new(format!("the connection broke while it was made or used: {chain}")),
        };
    }
    let cause = Cause::new(format!("{} ({})", status.message(), name(status.code())));
    match status.code() {
        Code::PermissionDenied => cause.way_out(ROLE),
        Code::Unauthenticated => cause.way_out(KEY),
        Code::Unimplemented if status.message().is_empty() => {
            Cause::new("the manager does not know this call").way_out("it may be older than this program")
        }
        _ => cause,
    }
}

/// An answer of a call to the manager.
pub trait Answered {
    /// What it holds.
    type Message;

    /// The message, or a failure of `object`: `cannot create the user `x``.
    fn answered(self, object: impl Display) -> Result<Self::Message, Failure>;
}

impl<T> Answered for Result<Response<T>, Status> {
    type Message = T;

    fn answered(self, object: impl Display) -> Result<T, Failure> {
        self.map(Response::into_inner).map_err(refused).or_fail(object)
    }
}

impl From<StateError> for Cause {
    fn from(error: StateError) -> Self {
        if let StateError::Version { pointer, .. } = &error {
            return Self::new(format!("{pointer} was changed by somebody else at the same time"))
                .way_out("do it again");
        }
        let cause = Self::new(error.to_string());
        if error.kind() == ErrorKind::PermissionDenied { cause.way_out(ROLE) } else { cause }
    }
}

/// Whether there is no such resource; other errors stay errors.
pub fn found<T>(result: Result<T, StateError>) -> Result<Option<T>, StateError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StateError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::Pointer;

    use super::*;

    #[test]
    fn answers_keep_their_text_and_name_the_way_out() {
        let text = |status| refused(status);
        assert_eq!(text(Status::not_found("no such user")), Cause::new("no such user (NotFound)"));
        assert_eq!(text(Status::permission_denied("no")).way_out.as_deref(), Some(ROLE));
        assert_eq!(text(Status::unauthenticated("invalid signature")).way_out.as_deref(), Some(KEY));
        let unknown = text(Status::unimplemented("power-on is not there yet"));
        assert_eq!(unknown.lines, ["power-on is not there yet (Unimplemented)"]);
    }

    #[test]
    fn a_manager_that_is_not_trusted_is_told_from_one_that_is_away() {
        let meaning = |text: &str| refused(Status::unavailable(text)).lines.concat();
        let untrusted = meaning("transport error: invalid peer certificate: UnknownIssuer");
        assert!(untrusted.starts_with("no authority that is trusted here"), "{untrusted}");
        let away = meaning("error trying to connect: Connection refused (os error 111)");
        assert!(away.starts_with("nothing listens there"), "{away}");
    }

    #[test]
    fn what_is_absent_is_no_error() {
        let pointer = Pointer::new("default", "Users.omni.sidero.dev", "a");
        assert_eq!(found::<u8>(Err(StateError::NotFound(pointer.clone()))), Ok(None));
        assert!(found::<u8>(Err(StateError::AlreadyExists(pointer))).is_err());
        assert_eq!(found(Ok(1)), Ok(Some(1)));
    }
}
