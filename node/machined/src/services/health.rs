//! Health checks of services.

use std::time::Duration;

use corten_resources::service::{HealthCheck, HealthProbe};
use corten_sys::sockets;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

const PERIOD: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_millis(500);
const PROTOTYPE: i32 = rustix::io::Errno::PROTOTYPE.raw_os_error();
/// Period until the first success: a service that comes up is seen within this time.
const EAGER_PERIOD: Duration = Duration::from_millis(250);

/// The checks of one run of a service.
pub(super) struct Checks {
    check: HealthCheck,
    next_at: Instant,
    succeeded: bool,
}

impl Checks {
    pub(super) fn new(check: HealthCheck) -> Self {
        let first = check.initial_delay.min(EAGER_PERIOD);
        Self { check, next_at: Instant::now() + first, succeeded: false }
    }

    /// Goes on with what the specification says now, eagerly if that is something else.
    pub(super) fn follow(&mut self, check: &HealthCheck) {
        if self.check != *check {
            *self = Self::new(check.clone());
        }
    }

    /// Waits for the next check and makes it; never returns for a service without checks. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<(), String> {
        if self.check.probe == HealthProbe::None {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.next_at).await;
        let timeout = if self.check.timeout.is_zero() { TIMEOUT } else { self.check.timeout };
        let result = match tokio::time::timeout(timeout, probe(&self.check)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer from {} within {timeout:?}", self.check.target)),
        };
        self.succeeded |= result.is_ok();
        let period = if self.check.period.is_zero() { PERIOD } else { self.check.period };
        self.next_at = Instant::now() + if self.succeeded { period } else { EAGER_PERIOD };
        result
    }
}

async fn probe(check: &HealthCheck) -> Result<(), String> {
    let said = |error: std::io::Error| format!("{}: {error}", check.target);
    match check.probe {
        HealthProbe::None => Ok(()),
        HealthProbe::Tcp => listens(&check.target),
        HealthProbe::Unix => match UnixStream::connect(&check.target).await {
            // Somebody listens there, for packets (udevd); nobody would be a refusal.
            Err(error) if error.raw_os_error() == Some(PROTOTYPE) => Ok(()),
            result => result.map(drop).map_err(said),
        },
        HealthProbe::Http => http_ok(&check.target).await,
        HealthProbe::Containerd => corten_containerd::Client::connect(&check.target)
            .await
            .map_err(|error| corten_base::chain(&error))?
            .healthy()
            .await
            .map_err(|error| corten_base::chain(&error))?
            .then_some(())
            .ok_or_else(|| "containerd says that it is not serving".to_owned()),
    }
}

/// Whether somebody listens. It is looked up, so that what serves nobody may sleep on.
fn listens(target: &str) -> Result<(), String> {
    let address = target.parse().map_err(|error| format!("{target}: {error}"))?;
    match sockets::listens(address) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{target}: nobody listens there")),
        Err(error) => Err(corten_base::chain(&error)),
    }
}

/// A GET that must answer 200; only the status line is read.
async fn http_ok(url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url} is not an http:// URL"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let said = |error: std::io::Error| format!("{url}: {error}");
    let mut stream = TcpStream::connect(host).await.map_err(said)?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(said)?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.map_err(said)?;
    if head.starts_with(b"HTTP/1.") && head.ends_with(b" 200") {
        return Ok(());
    }
    Err(format!("{url} answered {}", String::from_utf8_lossy(&head[9..])))
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_service_that_listens_elsewhere_is_asked_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = |name: &str| HealthCheck {
            probe: HealthProbe::Unix,
            target: folder.path().join(name).to_string_lossy().into_owned(),
            ..HealthCheck::default()
        };
        let _listener = tokio::net::UnixListener::bind(&check("new").target).expect("a listener");
        let mut checks = Checks::new(check("old"));
        assert!(checks.next().await.is_err());
        checks.follow(&check("new"));
        assert_eq!(checks.next().await, Ok(()));
        let next_at = checks.next_at;
        checks.follow(&check("new"));
        assert_eq!(checks.next_at, next_at, "the same specification changes nothing");
    }

    #[tokio::test]
    async fn a_port_counts_while_somebody_listens_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let target = listener.local_addr().expect("an address").to_string();
        let check = HealthCheck { probe: HealthProbe::Tcp, target: target.clone(), ..HealthCheck::default() };
        assert_eq!(probe(&check).await, Ok(()));
        drop(listener);
        assert!(probe(&check).await.is_err_and(|why| why.contains(&target)));
    }

    #[tokio::test]
    async fn a_socket_counts_while_somebody_listens_for_streams_or_for_packets() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = |name: &str| HealthCheck {
            probe: HealthProbe::Unix,
            target: folder.path().join(name).to_string_lossy().into_owned(),
            ..HealthCheck::default()
        };
        let stream = tokio::net::UnixListener::bind(&check("stream").target).expect("a listener");
        assert_eq!(probe(&check("stream")).await, Ok(()));
        let flags = SocketFlags::CLOEXEC;
        let packets = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket");
        bind(&packets, &SocketAddrUnix::new(check("packets").target).expect("a path")).expect("bound");
        listen(&packets, 1).expect("listening");
        assert_eq!(probe(&check("packets")).await, Ok(()));
        drop((stream, packets));
        assert!(probe(&check("stream")).await.is_err());
        assert!(probe(&check("packets")).await.is_err());
    }
}
