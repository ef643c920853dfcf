//! Names to addresses without the C library: `/etc/hosts`, then the servers of `/etc/resolv.conf` over UDP.
//!
//! `getaddrinfo` is not used anywhere, because a static program must not load the C library's modules at run time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use corten_base::Rng;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::dns::{self, Kind};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
const SERVERS_MAX: usize = 3;
const SEARCH_MAX: usize = 6;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Addresses of `name` in the order they should be tried; a literal address is its own.
///
/// # Errors
/// `NotFound` when the name has no address, or what the network answered instead.
pub async fn lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let hosts = hosts(&read(Path::new("/etc/hosts")).await, name);
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    let config = Config::parse(&read(Path::new("/etc/resolv.conf")).await);
    config.lookup(name, &Rng::kernel()).await
}

async fn read(path: &Path) -> String {
    match tokio::fs::metadata(path).await {
        Ok(metadata) if metadata.len() <= FILE_BYTES_MAX => {
            tokio::fs::read_to_string(path).await.unwrap_or_default()
        }
        _ => String::new(),
    }
}

fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect()
}

/// What `resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Config {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
}

impl Config {
    fn parse(text: &str) -> Self {
        let mut config = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    config.servers.extend(server.map(|server| SocketAddr::new(server, 53)));
                }
                Some("search" | "domain") => config.search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        config.servers.truncate(SERVERS_MAX);
        config.search.truncate(SEARCH_MAX);
        config
    }

    /// Full names to try; a name with a dot is tried as it is first, one with a final dot only so.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{}", domain.trim_matches('.')));
        let plain = std::iter::once(name.to_owned());
        if name.contains('.') { plain.chain(searched).collect() } else { searched.chain(plain).collect() }
    }

    async fn lookup(&self, name: &str, rng: &Rng) -> io::Result<Vec<IpAddr>> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, format!("lookup {name}: no such host"));
        if self.servers.is_empty() {
            return Err(failure);
        }
        for candidate in self.candidates(name) {
            let (four, six) =
                tokio::join!(self.ask(&candidate, Kind::A, rng), self.ask(&candidate, Kind::Aaaa, rng));
            let mut addresses = Vec::new();
            for answer in [four, six] {
                match answer {
                    Ok(found) => addresses.extend(found),
                    Err(error) => failure = io::Error::new(error.kind(), format!("lookup {name}: {error}")),
                }
            }
            if !addresses.is_empty() {
                return Ok(addresses);
            }
        }
        Err(failure)
    }

    async fn ask(&self, name: &str, kind: Kind, rng: &Rng) -> io::Result<Vec<IpAddr>> {
        let mut failure = io::Error::new(io::ErrorKind::TimedOut, "no name server answered");
        for server in self.servers.iter().cycle().take(self.servers.len() * ATTEMPTS) {
            match timeout(ANSWER_TIMEOUT, exchange(*server, name, kind, rng)).await {
                Ok(Ok(addresses)) => return Ok(addresses),
                Ok(Err(error)) => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }
}

async fn exchange(server: SocketAddr, name: &str, kind: Kind, rng: &Rng) -> io::Result<Vec<IpAddr>> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    let id = u16::from_be_bytes(rng.bytes());
    let query = dns::query(id, name, kind).ok_or_else(|| io::Error::other("not a domain name"))?;
    socket.send(&query).await?;
    let mut buffer = [0; dns::ANSWER_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match dns::addresses(&buffer[..length], id, kind) {
            Some(Ok(addresses)) => return Ok(addresses),
            Some(Err(code)) => {
                return Err(io::Error::other(format!("the name server failed with code {code}")));
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_and_resolver_files() {
        let hosts = hosts("127.0.0.1 localhost\n10.5.0.2\tnode-1 Node-1.example # first\n", "node-1.EXAMPLE");
        assert_eq!(hosts, ["10.5.0.2".parse::<IpAddr>().expect("address")]);
        let config =
            Config::parse("# x\nnameserver 1.1.1.1\nnameserver fd00::1\nnameserver bad\nsearch a.b c.\n");
        assert_eq!(config.servers.len(), 2);
        assert_eq!(config.candidates("n"), ["n.a.b", "n.c", "n"]);
        assert_eq!(config.candidates("n.x"), ["n.x", "n.x.a.b", "n.x.c"]);
        assert_eq!(config.candidates("n."), ["n"]);
    }

    #[tokio::test]
    async fn asks_a_server_and_takes_its_addresses() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let config = Config { servers: vec![server.local_addr().expect("address")], search: Vec::new() };
        let answering = corten_base::spawn("server", async move {
            let mut buffer = [0; 512];
            for _ in 0..2 {
                let (length, from) = server.recv_from(&mut buffer).await.expect("query");
                server
                    .send_to(&dns::tests::answer(&buffer[..length], [10, 5, 0, 2]), from)
                    .await
                    .expect("answer");
            }
        });
        let found = config.lookup("node-1.example", &Rng::kernel()).await.expect("found");
        assert_eq!(found, ["10.5.0.2".parse::<IpAddr>().expect("address")]);
        answering.join().await.expect("both questions came");
    }

    #[tokio::test]
    async fn literals_are_their_own_answer() {
        assert_eq!(
            lookup("fd00::1").await.expect("literal"),
            ["fd00::1".parse::<IpAddr>().expect("address")]
        );
    }

    #[test]
    fn any_files_are_read_within_bounds() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let config = Config::parse(&text);
            assert!(config.servers.len() <= SERVERS_MAX && config.search.len() <= SEARCH_MAX);
            drop(hosts(&text, "node-1"));
        });
    }
}
