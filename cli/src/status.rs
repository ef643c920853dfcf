//! What an answer of the API, or its absence, means to a person.

use std::error::Error;

use tonic::{Code, Status};

use crate::failure::Cause;

const NOT_ACCEPTED: &str = "the machine does not accept the client certificate";
const WHICH_CONTEXT: &str = "is it the right context (`corten config contexts`), is its certificate valid (`corten config info`)?\n\
     a machine without configuration needs --insecure";

/// Texts inside a failed connection, what each means, and what to do.
///
/// With TLS 1.3 the server judges our certificate after the client is done, so that a refusal is seen as a broken
/// connection; the alert is somewhere in the chain of causes, or nowhere at all.
const CONNECTIONS: &[(&str, &str, &str)] = &[
    (
        "alert: CertificateRequired",
        "the machine asks for a client certificate",
        "it has a configuration already: go without --insecure, with a context that has a certificate",
    ),
    (
        "alert: CertificateExpired",
        "the client certificate has expired",
        "make a new one: `corten config new` with an account that still works, or `corten gen config` from the cluster's secrets",
    ),
    ("alert: UnknownCA", NOT_ACCEPTED, WHICH_CONTEXT),
    ("alert: BadCertificate", NOT_ACCEPTED, WHICH_CONTEXT),
    ("alert: DecryptError", NOT_ACCEPTED, WHICH_CONTEXT),
    ("alert: AccessDenied", NOT_ACCEPTED, WHICH_CONTEXT),
    ("received fatal alert", NOT_ACCEPTED, WHICH_CONTEXT),
    ("UnknownIssuer", "the machine's certificate is not signed by the CA of the context", WHICH_CONTEXT),
    ("BadSignature", "the machine's certificate is not signed by the CA of the context", WHICH_CONTEXT),
    ("certificate expired", "the machine's certificate has expired", "is the clock right, here and there?"),
    (
        "certificate not valid yet",
        "the machine's certificate is not valid yet",
        "is the clock right, here and there?",
    ),
    (
        "not valid for name",
        "the machine's certificate is for other names",
        "add the name to machine.certSANs, or use one of the names it has",
    ),
    (
        "which is not expected",
        "the machine shows another certificate than --cert-fingerprint says",
        "compare it with the one on the machine's console",
    ),
    ("Connection refused", "nothing listens there", "is the address right, and is the machine up?"),
    ("No route to host", "there is no way to that address", "is the address right, and is the machine up?"),
    (
        "Network is unreachable",
        "there is no way to that address",
        "is the address right, and is the machine up?",
    ),
    ("timed out", "no answer", "is the address right, and does a firewall let port 50000 pass?"),
    ("no such host", "the name is unknown", "is the name right? -e takes addresses as well"),
];

impl From<Status> for Cause {
    fn from(status: Status) -> Self {
        let chain = chain(&status);
        if is_connection(&status) {
            return connection(&chain);
        }
        let cause = Self::new(format!("{} ({})", status.message(), name(status.code())));
        match status.code() {
            Code::PermissionDenied => {
                cause.way_out("the roles of this certificate do not suffice; `corten config info` shows them")
            }
            Code::Unauthenticated => cause.way_out(WHICH_CONTEXT),
            Code::Unimplemented if status.message().is_empty() => {
                Self::new("the machine does not know this call")
                    .way_out("`corten version` shows what runs there")
            }
            _ => cause,
        }
    }
}

/// Whether the other side did not answer at all, or its certificate or ours was refused.
pub fn is_connection(status: &Status) -> bool {
    let by_transport =
        ["transport error", "error trying to connect", "connection error", "h2 protocol error"];
    status.source().is_some() || by_transport.iter().any(|text| status.message().contains(text))
}

fn connection(chain: &str) -> Cause {
    match CONNECTIONS.iter().find(|(text, ..)| chain.contains(text)) {
        Some((_, meaning, way_out)) => Cause::new(format!("{meaning}: {chain}")).way_out(*way_out),
        None => Cause::new(format!("the connection broke while it was made or used: {chain}")).way_out(format!(
            "if it breaks every time, the machine probably refuses the client certificate: {WHICH_CONTEXT}"
        )),
    }
}

/// The message and its causes, without repetition.
pub fn chain(status: &Status) -> String {
    let mut texts = vec![status.message().to_owned()];
    let mut source = status.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !texts.iter().any(|earlier| earlier.contains(&text)) {
            texts.push(text);
        }
        source = error.source();
    }
    texts.join(": ")
}

/// Whether it is worth asking again: the machine is away or not ready yet.
pub fn is_passing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded)
}

/// The name of a code as Go's clients print it.
pub fn name(code: Code) -> String {
    if code == Code::Cancelled { "Canceled".to_owned() } else { format!("{code:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_certificates_are_told_from_machines_that_are_away() {
        let check = |message: &str, expected: &str| {
            let cause = Cause::from(Status::unavailable(message));
            assert!(cause.lines[0].starts_with(expected), "{message}: {cause:?}");
            assert!(cause.way_out.is_some());
        };
        check("transport error: received fatal alert: CertificateRequired", "the machine asks for");
        check("transport error: received fatal alert: UnknownCA", NOT_ACCEPTED);
        check("transport error: invalid peer certificate: UnknownIssuer", "the machine's certificate is not");
        check(
            "error trying to connect: 10.5.0.2:50000: Connection refused (os error 111)",
            "nothing listens",
        );
        check("transport error", "the connection broke");
    }

    #[test]
    fn answers_keep_their_text_and_code() {
        let cause = Cause::from(Status::not_found("no such service"));
        assert_eq!(cause, Cause::new("no such service (NotFound)"));
        let denied = Cause::from(Status::permission_denied("not authorized"));
        assert!(denied.way_out.expect("a way out").contains("config info"));
    }
}
