//! Kinds of values: how a scalar of the file or a text of the command line is read, the same for both.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use corten_base::Secret;
use corten_config::node::{Kind as Meaning, Scalar};
use corten_config::problem::nearest;
use corten_config::{scalar, values};

/// What a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text.
    Text,
    /// A text that must not be shown.
    Secret,
    /// Path of a file or folder.
    Path,
    /// `true` or `false`.
    Bool,
    /// A whole number in a range, both ends included.
    Integer(u64, u64),
    /// A duration as Go writes it, such as `30s` or `1h0m0s`, and the shortest one.
    Duration(Duration),
    /// Where to listen: address and port; without address on all of them.
    Endpoint,
    /// Addresses with ports, separated by commas.
    Addresses,
    /// A URL with one of these schemes.
    Url(&'static [&'static str]),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// An e-mail address.
    Email,
    /// A registry and what stands in for it: `HOST=URL`.
    Mirror,
    /// A list; on the command line separated by commas, or the flag several times.
    List(&'static Self),
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// An empty text where one is allowed.
    Nothing,
    /// Text, path, URL, word, e-mail address or mirror.
    Text(String),
    /// Text that must not be shown.
    Secret(Secret<String>),
    /// Boolean.
    Bool(bool),
    /// Whole number.
    Integer(u64),
    /// Duration.
    Duration(Duration),
    /// Where to listen.
    Endpoint(SocketAddr),
    /// Addresses with ports.
    Addresses(Vec<SocketAddr>),
    /// List of texts.
    List(Vec<String>),
}

impl Value {
    /// Whether it switches something off: nothing, false, zero or an empty list.
    pub(crate) fn is_off(&self) -> bool {
        match self {
            Self::Nothing | Self::Bool(false) | Self::Integer(0) => true,
            Self::Duration(value) => value.is_zero(),
            Self::List(items) => items.is_empty(),
            _ => false,
        }
    }
}

impl Kind {
    /// Reads a scalar that is not empty.
    pub(crate) fn read(self, found: &Scalar) -> Result<Value, String> {
        let text = found.text.as_str();
        match self {
            Self::Text | Self::Path => Ok(Value::Text(text.to_owned())),
            Self::Secret => Ok(Value::Secret(Secret::new(text.to_owned()))),
            Self::Bool => scalar::typed_bool(text, found.kind)
                .map(Value::Bool)
                .ok_or_else(|| format!("{text:?} is not a boolean; expected true or false")),
            Self::Integer(least, most) => integer(found, least, most),
            Self::Duration(least) => duration(text, least),
            Self::Endpoint => endpoint(text)
                .map(Value::Endpoint)
                .ok_or_else(|| format!("{text:?} is not an address to listen on, such as 0.0.0.0:8080")),
            Self::Addresses => addresses(text)
                .map(Value::Addresses)
                .ok_or_else(|| format!("{text:?} is not an address with a port, such as 192.0.2.1:50180")),
            Self::Url(_) | Self::OneOf(_) | Self::Email | Self::Mirror => {
                self.check(text)?;
                Ok(Value::Text(text.to_owned()))
            }
            Self::List(_) => self.items([found]),
        }
    }

    /// Reads the elements of a list.
    pub(crate) fn items<'a>(self, found: impl IntoIterator<Item = &'a Scalar>) -> Result<Value, String> {
        let item = match self {
            Self::List(item) => *item,
            other => other,
        };
        let mut items = Vec::new();
        for scalar in found {
            if scalar.text.is_empty() {
                return Err("has an empty element".to_owned());
            }
            item.check(&scalar.text)?;
            items.push(scalar.text.clone());
        }
        Ok(Value::List(items))
    }

    /// Whether a text is of a kind that stays a text.
    fn check(self, text: &str) -> Result<(), String> {
        let is_right = match self {
            Self::Url(schemes) => is_url(text, schemes),
            Self::OneOf(words) => words.contains(&text),
            Self::Email => is_email(text),
            Self::Mirror => is_mirror(text),
            _ => true,
        };
        if is_right { Ok(()) } else { Err(format!("{text:?} is not {}{}", self.expected(), self.hint(text))) }
    }

    fn hint(self, text: &str) -> String {
        let near = match self {
            Self::OneOf(words) => nearest(text, words.iter().copied()),
            _ => None,
        };
        near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
    }

    /// The kind in words, for messages and the page.
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Self::Text | Self::Secret => "a text".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Bool => "a boolean".to_owned(),
            Self::Integer(least, u64::MAX) => format!("a whole number from {least}"),
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::Duration(_) => "a duration such as 30s or 1h0m0s".to_owned(),
            Self::Endpoint => "an address to listen on".to_owned(),
            Self::Addresses => "addresses with ports, separated by commas".to_owned(),
            Self::Url(schemes) => format!("a URL ({})", schemes.join(", ")),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::Email => "an e-mail address".to_owned(),
            Self::Mirror => "a registry and the URL of its mirror, HOST=URL".to_owned(),
            Self::List(item) => format!("a list; each is {}", item.expected()),
        }
    }

    /// What stands for the value in the help.
    pub(crate) const fn placeholder(self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "TEXT",
            Self::Path => "PATH",
            Self::Bool => "BOOL",
            Self::Integer(..) => "NUMBER",
            Self::Duration(_) => "DURATION",
            Self::Endpoint | Self::Addresses => "ADDRESS",
            Self::Url(_) => "URL",
            Self::OneOf(_) => "WORD",
            Self::Email => "EMAIL",
            Self::Mirror => "HOST=URL",
            Self::List(item) => item.placeholder(),
        }
    }
}

fn integer(found: &Scalar, least: u64, most: u64) -> Result<Value, String> {
    let Meaning::Integer(value) = found.kind else {
        return Err(format!("{:?} is not a whole number", found.text));
    };
    let value = u64::try_from(value).ok().filter(|value| (least..=most).contains(value));
    let expected = Kind::Integer(least, most).expected();
    value.map(Value::Integer).ok_or_else(|| format!("{} is not {expected}", found.text))
}

fn duration(text: &str, least: Duration) -> Result<Value, String> {
    let value =
        values::duration(text).ok_or_else(|| format!("{text:?} is not a duration such as 30s or 1h0m0s"))?;
    if value < least { Err(format!("{text} is shorter than {least:?}")) } else { Ok(Value::Duration(value)) }
}

fn endpoint(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) => port.parse().ok().map(|port| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)),
        None => text.parse().ok(),
    }
}

fn addresses(text: &str) -> Option<Vec<SocketAddr>> {
    let one = |text: &str| {
        let address = text.trim().parse::<SocketAddr>().ok();
        address.filter(|address| address.port() != 0 && !address.ip().is_unspecified())
    };
    text.split(',').map(one).collect()
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    values::url(text).is_some_and(|url| schemes.contains(&url.scheme.as_str()))
}

fn is_email(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace) && !part.contains('@');
    text.split_once('@').is_some_and(|(user, host)| is_part(user) && is_part(host))
}

fn is_mirror(text: &str) -> bool {
    text.split_once('=').is_some_and(|(host, url)| !host.is_empty() && is_url(url, &["http", "https"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Kind = Kind::Integer(1, 65_535);

    fn read(kind: Kind, text: &str) -> Result<Value, String> {
        kind.read(&Scalar { text: text.to_owned(), kind: scalar::resolve(text) })
    }

    #[test]
    fn values_are_read_by_their_kind() {
        let endpoint = |text: &str| Value::Endpoint(text.parse().unwrap());
        assert_eq!(read(Kind::Endpoint, ":8080"), Ok(endpoint("[::]:8080")));
        assert_eq!(read(Kind::Endpoint, "127.0.0.1:0"), Ok(endpoint("127.0.0.1:0")));
        let hour = Value::Duration(Duration::from_secs(3600));
        assert_eq!(read(Kind::Duration(Duration::ZERO), "1h0m0s"), Ok(hour));
        assert_eq!(read(Kind::Bool, "yes"), Ok(Value::Bool(true)));
        assert_eq!(read(PORT, "0x50"), Ok(Value::Integer(80)));
        let addresses = read(Kind::Addresses, "192.0.2.1:50180, [2001:db8::1]:50180");
        assert!(matches!(addresses, Ok(Value::Addresses(addresses)) if addresses.len() == 2));
        let mirror = "docker.io=http://10.0.0.1:5000";
        assert_eq!(read(Kind::List(&Kind::Mirror), mirror), Ok(Value::List(vec![mirror.to_owned()])));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        let words = Kind::OneOf(&["strict", "legacy"]);
        for (kind, text, message) in [
            (Kind::Bool, "maybe", "\"maybe\" is not a boolean; expected true or false"),
            (PORT, "65536", "65536 is not a whole number from 1 to 65535"),
            (PORT, "http", "\"http\" is not a whole number"),
            (Kind::Duration(Duration::from_secs(1)), "500ms", "500ms is shorter than 1s"),
            (Kind::Duration(Duration::ZERO), "1d", "\"1d\" is not a duration such as 30s or 1h0m0s"),
            (Kind::Endpoint, "host:80", "\"host:80\" is not an address to listen on, such as 0.0.0.0:8080"),
            (Kind::Addresses, "[::]:1", "\"[::]:1\" is not an address with a port, such as 192.0.2.1:50180"),
            (Kind::Url(&["https"]), "http://a", "\"http://a\" is not a URL (https)"),
            (words, "strikt", "\"strikt\" is not one of strict, legacy; did you mean \"strict\"?"),
            (Kind::Email, "a@b@c", "\"a@b@c\" is not an e-mail address"),
            (Kind::Mirror, "a", "\"a\" is not a registry and the URL of its mirror, HOST=URL"),
        ] {
            assert_eq!(read(kind, text), Err(message.to_owned()));
        }
    }

    #[test]
    fn any_text_is_read_or_refused_without_panic() {
        bolero::check!().with_type::<String>().for_each(|text| {
            for kind in [PORT, Kind::Bool, Kind::Endpoint, Kind::Addresses, Kind::Email, Kind::Mirror] {
                let _ = read(kind, text);
            }
        });
    }
}
