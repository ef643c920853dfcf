//! Where machines and people reach what listens here.
//!
//! ```text
//! setting ─▶ as it is
//! none    ─▶ address that is listened on ─▶ if it is all of them: those from which this host sends
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use corten_config::values::url;
use corten_fleet_settings::{Settings, Siderolink};

/// Networks for documentation (RFC 5737, RFC 3849): nobody is there, and the way to them is the default one.
const ELSEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// Any port; nothing is sent to it.
const ANY_PORT: u16 = 9;

/// Where machines reach WireGuard, host and port each, the best first. `bound` is where it listens.
pub fn wireguard(settings: &Siderolink, bound: SocketAddr) -> Vec<String> {
    if !settings.wireguard_advertised.is_empty() {
        return settings.wireguard_advertised.iter().map(ToString::to_string).collect();
    }
    let addresses = if bound.ip().is_unspecified() { of_host(bound.ip()) } else { vec![bound.ip()] };
    addresses.into_iter().map(|ip| SocketAddr::new(ip, bound.port()).to_string()).collect()
}

/// Addresses of this host that whoever listens on all addresses of a family has; `[::]` has both families.
fn of_host(all: IpAddr) -> Vec<IpAddr> {
    let is_listened_on = |ip: &IpAddr| all.is_ipv6() || ip.is_ipv4();
    let found: Vec<IpAddr> = ELSEWHERE.into_iter().filter(is_listened_on).filter_map(source).collect();
    if found.is_empty() { vec![loopback(all)] } else { found }
}

/// The address from which this host would send there. Nothing is sent.
fn source(to: IpAddr) -> Option<IpAddr> {
    let any = if to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, ANY_PORT)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

/// A host without network still has machines on itself.
const fn loopback(all: IpAddr) -> IpAddr {
    match all {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// A URL with the port that the kernel chose where the setting left it open with port 0.
pub fn with_port(advertised: &str, bound: SocketAddr) -> String {
    match advertised.strip_suffix(":0") {
        Some(host) => format!("{host}:{}", bound.port()),
        None => advertised.to_owned(),
    }
}

/// Whether a URL leads to this host from nowhere else.
pub fn is_local(advertised: &str) -> bool {
    let host = url(advertised).map(|url| url.host).unwrap_or_default();
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Names for a certificate of our own: those under which clients reach the API and the Kubernetes proxy, each once.
pub fn certificate_names(settings: &Settings) -> Vec<String> {
    let (api, proxy) = (&settings.services.api, &settings.services.kubernetes_proxy);
    let advertised = [&api.advertised_url, &proxy.advertised_url];
    let bound = [&api.listener, &proxy.listener].map(|listener| listener.endpoint.ip());
    let hosts = advertised.into_iter().filter_map(|text| url(text)).map(|url| url.host);
    let addresses = bound.into_iter().filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
    let mut names: Vec<String> = Vec::new();
    for name in hosts.chain(addresses).chain(["localhost".to_owned()]) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn what_is_given_counts_and_else_where_it_listens() {
        let mut settings = Settings::default().services.siderolink;
        assert_eq!(wireguard(&settings, at("192.0.2.9:50180")), ["192.0.2.9:50180"]);
        assert_eq!(wireguard(&settings, at("[2001:db8::9]:1")), ["[2001:db8::9]:1"]);
        let on_all = wireguard(&settings, at("0.0.0.0:50180"));
        assert!(!on_all.is_empty() && on_all.iter().all(|address| at(address).is_ipv4()), "{on_all:?}");
        assert!(on_all.iter().all(|address| !at(address).ip().is_unspecified()), "{on_all:?}");
        settings.wireguard_advertised = vec![at("198.51.100.1:1"), at("[2001:db8::1]:2")];
        assert_eq!(wireguard(&settings, at("0.0.0.0:50180")), ["198.51.100.1:1", "[2001:db8::1]:2"]);
    }

    #[test]
    fn a_port_that_was_left_open_is_filled_in() {
        assert_eq!(with_port("http://localhost:0", at("127.0.0.1:4711")), "http://localhost:4711");
        assert_eq!(with_port("http://localhost:80", at("127.0.0.1:4711")), "http://localhost:80");
    }

    #[test]
    fn urls_of_this_host_are_told_from_others() {
        for (url, expected) in [
            ("http://localhost:8090", true),
            ("http://127.0.0.1", true),
            ("http://[::1]:1", true),
            ("https://fleet.example", false),
        ] {
            assert_eq!(is_local(url), expected, "{url}");
        }
    }

    #[test]
    fn a_certificate_is_for_what_clients_dial() {
        let mut settings = Settings::default();
        assert_eq!(certificate_names(&settings), ["localhost"]);
        settings.services.api.advertised_url = "https://fleet.example:8080".to_owned();
        settings.services.api.listener.endpoint = at("10.0.0.1:8080");
        assert_eq!(certificate_names(&settings), ["fleet.example", "localhost", "10.0.0.1"]);
    }
}
