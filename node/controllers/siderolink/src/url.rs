//! The join URL: where the machine joins, and what lets it in.
//!
//! ```text
//! [scheme://]host[:port][/path][?jointoken=TOKEN[&grpc_tunnel=true]]
//! ```
//! Rules of fleet.md 1.1: without a scheme it is `grpc`, which is a connection without TLS; every other scheme has TLS.

use corten_base::Secret;

use crate::address::HostPort;

/// Port when the URL names none.
const DEFAULT_PORT: u16 = 443;
/// The scheme without TLS.
const PLAIN_SCHEME: &str = "grpc";
/// Key of the token in the query.
const TOKEN: &str = "jointoken";
/// Key of the wish for a tunnel in the query, and the values that mean it.
const TUNNEL: (&str, [&str; 2]) = ("grpc_tunnel", ["true", "y"]);

/// Where a gRPC service of the manager is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAddress {
    /// Host and port.
    pub host: HostPort,
    /// Whether the connection is protected, with the machine's list of authorities.
    pub is_tls: bool,
}

/// A join URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinUrl {
    /// The join API.
    pub api: ApiAddress,
    /// The token; empty when the URL has none.
    pub token: Secret<String>,
    /// Whether the machine asks for WireGuard inside gRPC.
    pub tunnel: bool,
}

/// A text that is no join URL. The text is not repeated: it may hold a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the join URL names no host; write it as https://HOST:PORT?jointoken=TOKEN, or with grpc:// for a connection \
     without TLS"
)]
pub struct InvalidJoinUrl;

impl JoinUrl {
    /// Reads a join URL. Parameters that are not known are left out.
    ///
    /// # Errors
    /// When it names no host, or a port that is none.
    pub fn parse(text: &str) -> Result<Self, InvalidJoinUrl> {
        let (scheme, rest) = scheme(text.trim());
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = HostPort::parse(authority, Some(DEFAULT_PORT)).ok_or(InvalidJoinUrl)?;
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let wish = parameter(query, TUNNEL.0).unwrap_or_default().to_ascii_lowercase();
        Ok(Self {
            api: ApiAddress { host, is_tls: scheme != PLAIN_SCHEME },
            token: Secret::new(parameter(query, TOKEN).unwrap_or_default()),
            tunnel: TUNNEL.1.contains(&wish.as_str()),
        })
    }
}

/// The scheme in lower case, and what comes after it.
fn scheme(text: &str) -> (String, &str) {
    let is_scheme = |scheme: &str| !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric());
    match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ => (PLAIN_SCHEME.to_owned(), text),
    }
}

/// The first value of a key in a query; a pair that is not encoded well is no pair.
fn parameter(query: &str, wanted: &str) -> Option<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut decoded = pairs.filter_map(|(key, value)| Some((decode(key)?, decode(value)?)));
    decoded.find(|(key, _)| key == wanted).map(|(_, value)| value)
}

/// The text that a part of a query stands for: `%` and two digits for a byte, `+` for a space.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match first {
            b'+' => (b' ', after),
            b'%' => {
                let (digits, after) = after.split_first_chunk::<2>()?;
                (hex(digits[0])? * 16 + hex(digits[1])?, after)
            }
            byte => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, bool, String, bool) {
        let url = JoinUrl::parse(text).expect(text);
        (url.api.host.to_string(), url.api.is_tls, url.token.reveal().clone(), url.tunnel)
    }

    #[test]
    fn the_scheme_says_whether_there_is_tls_and_grpc_is_the_default() {
        let of = |text: &str| {
            let (host, is_tls, ..) = parts(text);
            (host, is_tls)
        };
        assert_eq!(of("grpc://omni.example:8090?jointoken=t"), ("omni.example:8090".to_owned(), false));
        assert_eq!(of("omni.example:8090?jointoken=t"), ("omni.example:8090".to_owned(), false));
        assert_eq!(of("https://omni.example?jointoken=t"), ("omni.example:443".to_owned(), true));
        assert_eq!(of("https://[fd00::1]:8090/"), ("[fd00::1]:8090".to_owned(), true));
        assert_eq!(of("grpcs://omni.example:1"), ("omni.example:1".to_owned(), true));
        assert_eq!(of("HTTPS://omni.example"), ("omni.example:443".to_owned(), true));
        assert_eq!(of("h:1?jointoken=a://b"), ("h:1".to_owned(), false));
    }

    #[test]
    fn the_query_holds_the_token_and_the_wish_for_a_tunnel() {
        let of = |query: &str| {
            let (_, _, token, tunnel) = parts(&format!("https://h/x?{query}#f"));
            (token, tunnel)
        };
        assert_eq!(of("jointoken=v1%3AeyJ%2B%2F%3D&grpc_tunnel=true"), ("v1:eyJ+/=".to_owned(), true));
        assert_eq!(of("grpc_tunnel=y&jointoken=a+b"), ("a b".to_owned(), true));
        assert_eq!(of("jointoken=first&jointoken=second&other=1"), ("first".to_owned(), false));
        for no in ["grpc_tunnel=false", "grpc_tunnel=1", "grpc_tunnel", "grpc_tunnel=%zz", ""] {
            assert_eq!(of(no), (String::new(), false), "{no}");
        }
        assert_eq!(of("jointoken=%f"), (String::new(), false), "a pair that is cut off is none");
    }

    #[test]
    fn a_url_without_host_is_refused_without_repeating_it() {
        for text in
            ["", "https://", "grpc://:8090?jointoken=hunter2", "https://h:port", "https://[h]:1", "a b"]
        {
            let error = JoinUrl::parse(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let url = JoinUrl::parse("h?jointoken=hunter2").expect("a URL");
        assert!(!format!("{url:?}").contains("hunter2"));
    }

    #[test]
    fn fuzz_any_text_is_a_url_or_none() {
        bolero::check!().with_type::<String>().for_each(|text| {
            if let Ok(url) = JoinUrl::parse(text) {
                let again = HostPort::parse(&url.api.host.to_string(), None);
                assert_eq!(again, Some(url.api.host));
            }
        });
    }
}
