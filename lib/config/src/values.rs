//! Texts that mean something: durations, sizes, addresses, base64.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

/// A Go duration: `1h30m`, `1.5s`, `100ms`, `0`. Signs and more than 292 years are refused.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0_f64;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..number].parse().ok()?;
        rest = &rest[number..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += value * unit_seconds(&rest[..unit])?;
        rest = &rest[unit..];
    }
    // Go's range: 63 bits of nanoseconds.
    (!text.is_empty() && total <= 9_223_372_036.0).then(|| Duration::from_nanos((total * 1e9).round() as u64))
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

/// Bytes with an optional unit: `512`, `10 GB` (decimal), `10GiB` (binary).
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let number = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let value: f64 = text[..number].parse().ok()?;
    let unit = text[number..].trim().to_lowercase();
    let (prefix, base) = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('i')) {
        Some(prefix) => (prefix, 1024_f64),
        None => (unit.strip_suffix('b').unwrap_or(&unit), 1000_f64),
    };
    let power = match prefix {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = value * base.powi(power);
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// The largest size of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeMax {
    /// So many bytes.
    Bytes(u64),
    /// So much of the disk, per cent.
    Percent(u64),
    /// The disk but for so many bytes.
    Free(u64),
}

/// The largest size of a volume: `50GiB`, `80%` of the disk, `-10GiB` less than the disk.
#[must_use]
pub fn size_max(text: &str) -> Option<SizeMax> {
    let text = text.trim();
    if let Some(percent) = text.strip_suffix('%') {
        return percent
            .trim()
            .parse()
            .ok()
            .filter(|percent| (1..=100).contains(percent))
            .map(SizeMax::Percent);
    }
    match text.strip_prefix('-') {
        Some(free) => size(free).map(SizeMax::Free),
        None => size(text).map(SizeMax::Bytes),
    }
}

/// An address with its network; a bare address is a network of its own.
#[must_use]
pub fn address(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Host and port of a URL such as `https://[fd00::1]:6443/path`.
#[must_use]
pub fn url(text: &str) -> Option<Url> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match authority.rsplit_once(':') {
            // What has more colons is an address whose brackets were forgotten: where its port begins, nobody knows.
            Some((host, _)) if host.contains(':') => return None,
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.filter(|port| !port.is_empty()).map(str::parse).transpose().ok()?;
    let plain = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    let scheme_ok = scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    (plain(scheme) && scheme_ok && plain(host)).then(|| Url {
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        port,
    })
}

/// The parts of a URL that a machine needs to reach a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    /// Scheme.
    pub scheme: String,
    /// Host without brackets.
    pub host: String,
    /// Port if it is given.
    pub port: Option<u16>,
}

impl Url {
    /// The port, given or usual for the scheme.
    #[must_use]
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(if self.scheme == "http" { 80 } else { 443 })
    }
}

/// A port, or a range of ports such as `80-90`, both ends in it.
#[must_use]
pub fn ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range: (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (range.0 <= range.1).then_some(range)
}

/// Bytes of a base64 text; line breaks are allowed in it.
#[must_use]
pub fn base64(text: &str) -> Option<Vec<u8>> {
    let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(plain).ok()
}

/// Base64 of bytes.
#[must_use]
pub fn to_base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stand_alone_or_in_ranges() {
        assert_eq!(ports("443"), Some((443, 443)));
        assert_eq!(ports("80-90"), Some((80, 90)));
        for text in ["", "-", "90-80", "1-2-3", "65536", "http", "80-"] {
            assert_eq!(ports(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_go_durations() {
        let good = [
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("100ms", 100),
            ("0", 0),
            ("8760h", 31_536_000_000),
            ("0s", 0),
        ];
        for (text, millis) in good {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "1d", "-1s", "h", "1h 3m", "1..5s", "9999999h", "s1"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        let good = [
            ("512", 512),
            ("10GB", 10_000_000_000),
            ("10 GiB", 10_737_418_240),
            ("1.5KiB", 1536),
            ("2T", 2_000_000_000_000),
            ("3b", 3),
        ];
        for (text, bytes) in good {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "x", "10XB", "-1", "1.2.3", "99999999P"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn largest_sizes_are_bytes_or_parts_of_the_disk() {
        assert_eq!(size_max("50GiB"), Some(SizeMax::Bytes(50 << 30)));
        assert_eq!(size_max("80%"), Some(SizeMax::Percent(80)));
        assert_eq!(size_max("-10GiB"), Some(SizeMax::Free(10 << 30)));
        for text in ["", "0%", "101%", "%", "-", "--1GiB", "x"] {
            assert_eq!(size_max(text), None, "{text}");
        }
    }

    #[test]
    fn urls_give_host_and_port() {
        let parts = |text: &str| url(text).map(|url| (url.host.clone(), url.port_or_default()));
        assert_eq!(parts("https://10.5.0.2:6443"), Some(("10.5.0.2".to_owned(), 6443)));
        assert_eq!(parts("https://[fd00::1]:6443/x?y"), Some(("fd00::1".to_owned(), 6443)));
        assert_eq!(parts("http://u:p@host"), Some(("host".to_owned(), 80)));
        for text in [
            "",
            "host:6443",
            "https://",
            "https://host:port",
            "https://[fd00::1",
            "https://[x]",
            "https://:6443",
            "ht tp://x",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    #[test]
    fn any_text_is_refused_without_panic() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = (duration(text), size(text), size_max(text), address(text), url(text), base64(text));
        });
    }
}
