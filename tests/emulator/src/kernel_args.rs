//! What the kernel's arguments tell a machine about its manager (fleet.md 1.1).
//!
//! ```text
//! siderolink.api=grpc://host:port?jointoken=T&grpc_tunnel=true   ─▶ where to join, with what
//! talos.events.sink=[server]:8090                                ─▶ where events go
//! talos.logging.kernel=tcp://[server]:8092                       ─▶ where the kernel log goes
//! ```

use std::net::SocketAddrV6;

use corten_base::Secret;
use corten_config::values;

/// Port of a join address with TLS that names none.
const TLS_PORT: u16 = 443;

/// Arguments that no emulated machine can start with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelArgsError {
    /// There is no manager to join.
    #[error("the kernel arguments have no siderolink.api=URL; copy them from the manager")]
    NoManager,
    /// The join URL cannot be read.
    #[error(transparent)]
    Join(#[from] InvalidJoinUrl),
}

/// A text that is no join URL. The text itself is not repeated, since it may hold a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the join URL {0}; it looks like grpc://host:port?jointoken=TOKEN")]
pub struct InvalidJoinUrl(&'static str);

/// Where and with what a machine joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinUrl {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether the service has TLS.
    pub tls: bool,
    /// Join token, if the URL has one.
    pub token: Option<Secret<String>>,
    /// Whether the machine asks for WireGuard inside gRPC.
    pub tunnel: bool,
}

impl JoinUrl {
    /// Reads a URL. Without a scheme it means `grpc`, which has no TLS; every other scheme has.
    ///
    /// # Errors
    /// When there is no host, or no port where one is needed.
    pub fn parse(text: &str) -> Result<Self, InvalidJoinUrl> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let place = if place.contains("://") { place.to_owned() } else { format!("grpc://{place}") };
        let url = values::url(&place).ok_or(InvalidJoinUrl("has no host"))?;
        let tls = url.scheme != "grpc";
        let port = url.port.or(tls.then_some(TLS_PORT)).ok_or(InvalidJoinUrl("has no port"))?;
        let token = parameter(query, "jointoken").filter(|token| !token.is_empty());
        let tunnel = matches!(parameter(query, "grpc_tunnel").as_deref(), Some("true" | "y"));
        Ok(Self { host: url.host, port, tls, token: token.map(Secret::new), tunnel })
    }

    /// Host and port as they stand in an address.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The first value of a parameter of a query, decoded.
fn parameter(query: &str, key: &str) -> Option<String> {
    let query = query.split('#').next().unwrap_or_default();
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| decode(value))
}

/// A value of a query: `%41` is a byte, `+` a space; what is no escape stays as it is.
fn decode(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.first_chunk::<2>().filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let pair = pair.and_then(|pair| std::str::from_utf8(pair).ok());
        let escaped = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What all arguments together say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelArgs {
    /// The arguments as they were given: `/proc/cmdline`.
    pub line: String,
    /// Where to join.
    pub join: JoinUrl,
    /// Where events go; `None` when nobody wants them.
    pub event_sink: Option<SocketAddrV6>,
    /// Where the kernel log goes.
    pub kernel_log: Option<SocketAddrV6>,
}

impl KernelArgs {
    /// Reads a line of arguments, separated by spaces. Destinations that are not in the tunnel are left out.
    ///
    /// # Errors
    /// When there is no join URL, or one that cannot be read.
    pub fn parse(line: &str) -> Result<Self, KernelArgsError> {
        let find = |key: &str| {
            let mut pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        let join = find("siderolink.api").ok_or(KernelArgsError::NoManager)?;
        Ok(Self {
            line: line.to_owned(),
            join: JoinUrl::parse(join)?,
            event_sink: find("talos.events.sink").and_then(destination),
            kernel_log: find("talos.logging.kernel").and_then(destination),
        })
    }
}

/// A destination in the tunnel, `[address]:port` or `tcp://[address]:port`; nothing else is reached from there.
#[must_use]
pub fn destination(text: &str) -> Option<SocketAddrV6> {
    text.strip_prefix("tcp://").unwrap_or(text).trim_end_matches('/').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_says_whether_there_is_tls() {
        let of = |text: &str| JoinUrl::parse(text).map(|url| (url.authority(), url.tls));
        assert_eq!(of("manager:8090"), Ok(("manager:8090".to_owned(), false)));
        assert_eq!(of("grpc://[fd00::1]:8090?jointoken=x"), Ok(("[fd00::1]:8090".to_owned(), false)));
        assert_eq!(of("https://manager?jointoken=x"), Ok(("manager:443".to_owned(), true)));
        assert_eq!(of("grpc://manager"), Err(InvalidJoinUrl("has no port")));
        assert_eq!(of("grpc://:1"), Err(InvalidJoinUrl("has no host")));
    }

    #[test]
    fn tokens_are_decoded_and_the_tunnel_is_a_wish() {
        let url = JoinUrl::parse("grpc://m:1?jointoken=v1%3Aey%2B%3D&grpc_tunnel=y").expect("a URL");
        assert_eq!(url.token, Some(Secret::new("v1:ey+=".to_owned())));
        assert!(url.tunnel);
        let url = JoinUrl::parse("grpc://m:1?jointoken=&grpc_tunnel=1").expect("a URL");
        assert_eq!((url.token, url.tunnel), (None, false));
        assert_eq!(decode("100%+%4"), "100% %4");
    }

    #[test]
    fn a_line_has_the_three_destinations() {
        let line = "console=ttyS0 siderolink.api=grpc://10.0.0.1:8090?jointoken=a \
                    talos.events.sink=[fdae::1]:8090 talos.logging.kernel=tcp://[fdae::1]:8092";
        let args = KernelArgs::parse(line).expect("arguments");
        assert_eq!(args.event_sink.map(|to| to.to_string()).as_deref(), Some("[fdae::1]:8090"));
        assert_eq!(args.kernel_log.map(|to| to.to_string()).as_deref(), Some("[fdae::1]:8092"));
        assert_eq!(KernelArgs::parse("quiet"), Err(KernelArgsError::NoManager));
    }

    #[test]
    fn fuzz_any_text_is_read_or_refused() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = (JoinUrl::parse(text), KernelArgs::parse(text), destination(text));
        });
    }
}
