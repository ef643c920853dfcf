//! Headers of requests to a Kubernetes: what of the client's goes on, and in whose name.
//!
//! ```text
//! client: token, who it claims to be, hops ─▶ removed
//! the rest ──────────────────────────────────▶ passed ─┬─▶ control plane
//! token: subject, groups ─▶ Impersonate-User, -Group ──┘
//! ```

use std::net::IpAddr;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::token::Claims;

/// Whose request it is.
const IMPERSONATE_USER: &str = "impersonate-user";
/// In which groups they are, one a value.
const IMPERSONATE_GROUP: &str = "impersonate-group";
/// Where the client is, for Kubernetes' own audit log.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Begin of what a client says about who it is or where it is.
const CLAIMS: [&str; 3] = ["impersonate-", "x-remote-", "x-forwarded-"];
/// What is between two neighbors only (RFC 9110, 7.6.1), or about the client itself.
const OWN: [&str; 15] = [
    "authorization",
    "connection",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
];

/// A name of a user or a group that no header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of the user or of a group has characters that no header can carry")]
pub(crate) struct InvalidName;

/// Headers of the request as it goes on: nothing of what the client says about itself, and whose it is.
///
/// # Errors
/// When a name cannot be written.
pub(crate) fn outgoing(
    headers: &HeaderMap,
    claims: &Claims,
    remote: Option<IpAddr>,
) -> Result<HeaderMap, InvalidName> {
    let mut passed = between(headers);
    let is_claim = |name: &HeaderName| CLAIMS.iter().any(|begin| name.as_str().starts_with(begin));
    let claimed: Vec<HeaderName> = passed.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in claimed {
        passed.remove(&name);
    }
    passed.insert(IMPERSONATE_USER, value(&claims.subject)?);
    for group in &claims.groups {
        passed.append(IMPERSONATE_GROUP, value(group)?);
    }
    if let Some(remote) = remote
        && let Ok(remote) = HeaderValue::from_str(&remote.to_canonical().to_string())
    {
        passed.insert(FORWARDED_FOR, remote);
    }
    Ok(passed)
}

/// Headers without those that are between two neighbors only.
pub(crate) fn between(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    for name in named.flat_map(|text| text.split(',')) {
        passed.remove(name.trim());
    }
    for name in OWN {
        passed.remove(name);
    }
    passed
}

/// What a connection is to become, if the client asks for that.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut options = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let is_upgrade = |name: &str| name.trim().eq_ignore_ascii_case("upgrade");
    let is_asked = options.any(|text| text.split(',').any(is_upgrade));
    headers.get(UPGRADE).filter(|_| is_asked)
}

/// Whether a name can stand in a header.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && value(text).is_ok()
}

fn value(text: &str) -> Result<HeaderValue, InvalidName> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| InvalidName)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::claims;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn texts(headers: &HeaderMap) -> Vec<String> {
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        let mut texts: Vec<_> = headers.iter().map(text).collect();
        texts.sort();
        texts
    }

    #[test]
    fn nobody_says_themselves_who_they_are() {
        let sent = headers(&[
            ("accept", "application/json"),
            ("authorization", "Bearer t"),
            ("cookie", "c"),
            ("impersonate-user", "root"),
            ("impersonate-group", "system:masters"),
            ("impersonate-group", "system:nodes"),
            ("impersonate-uid", "0"),
            ("impersonate-extra-scopes", "all"),
            ("x-remote-user", "root"),
            ("x-forwarded-for", "127.0.0.1"),
        ]);
        let passed = outgoing(&sent, &claims(), "::ffff:192.0.2.1".parse().ok()).expect("passed");
        assert_eq!(
            texts(&passed),
            [
                "accept: application/json",
                "impersonate-group: deployers",
                "impersonate-group: readers",
                "impersonate-user: ci",
                "x-forwarded-for: 192.0.2.1",
            ]
        );
        let odd = Claims { subject: "a\nb".to_owned(), ..claims() };
        assert_eq!(outgoing(&sent, &odd, None), Err(InvalidName));
    }

    #[test]
    fn what_is_between_neighbors_stays_there() {
        let sent = headers(&[
            ("connection", "keep-alive, X-Own"),
            ("keep-alive", "1"),
            ("x-own", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("content-length", "3"),
            ("upgrade", "h2c"),
        ]);
        assert_eq!(texts(&between(&sent)), ["content-length: 3"]);
    }

    #[test]
    fn an_upgrade_is_one_only_when_the_connection_says_so() {
        let asked = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "SPDY/3.1")]);
        assert_eq!(upgrade(&asked).map(HeaderValue::as_bytes), Some(b"SPDY/3.1".as_slice()));
        assert!(upgrade(&headers(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade(&headers(&[("connection", "upgrade")])).is_none());
    }

    #[test]
    fn a_name_that_no_header_carries_is_none() {
        assert!(is_name("ci") && is_name("system:masters") && is_name("jürgen"));
        assert!(!is_name("") && !is_name("a\r\nb"));
    }
}
