//! The files between machined and dataplane: machined decides and writes, dataplane follows.
//!
//! Each file is one JSON value that is replaced as a whole, so dataplane keeps serving the last complete
//! answer for as long as machined is away. Dataplane writes only below [`STATUS`].

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use corten_base::fs::Durability;
use corten_base::paths;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Folder inside the dataplane folder that dataplane may write.
pub const STATUS: &str = "status";
/// Largest file that is read.
const SIZE_MAX: u64 = 16 << 20;

/// A value with its place in the dataplane folder.
pub trait Document:
    Serialize + DeserializeOwned + Clone + Default + PartialEq + Send + Sync + 'static
{
    /// Path relative to the dataplane folder.
    const FILE: &'static str;

    /// Path on a machine.
    #[must_use]
    fn path() -> PathBuf {
        Path::new(paths::DATAPLANE).join(Self::FILE)
    }
}

/// The load balancer for the Kubernetes API: where it listens and whom it may choose from.
///
/// Written by the Kubernetes controllers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubePrism {
    /// Where it listens (127.0.0.1:7445); nothing listens without it.
    pub listen: Option<SocketAddr>,
    /// API servers.
    pub endpoints: Vec<Endpoint>,
}

/// An API server, by address or name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// IP address or DNS name.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What the load balancer found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubePrismStatus {
    /// Where it listens now.
    pub listening: Option<SocketAddr>,
    /// `host:port` to whether the last check or connection succeeded; absent until the first check ended.
    pub healthy: BTreeMap<String, bool>,
}

/// The host's resolver: where it listens, whom it asks, and the names it answers itself.
///
/// Written by the network controllers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Addresses to listen at, UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Upstream servers, asked in this order.
    pub upstreams: Vec<SocketAddr>,
    /// Names of this machine and of cluster members, lower case, without the final dot.
    pub names: BTreeMap<String, Vec<IpAddr>>,
}

/// What the resolver found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsStatus {
    /// `udp-127.0.0.53:53` to `running`, or the reason why not.
    pub listeners: BTreeMap<String, String>,
    /// Upstreams and whether the last query succeeded; absent until one was asked.
    pub upstreams: BTreeMap<SocketAddr, bool>,
}

/// Static pods for the kubelet. Written by the Kubernetes controllers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StaticPods {
    /// Whole pod objects.
    pub pods: Vec<serde_json::Value>,
}

/// Where the kubelet finds the static pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticPodsStatus {
    /// URL for the kubelet's `staticPodURL`; kept over restarts of dataplane whenever the port is still free.
    pub url: String,
}

/// The read-only registry over OCI layouts that came with the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCache {
    /// Where it listens; nothing listens without it.
    pub listen: Option<SocketAddr>,
    /// OCI layout folders, asked in this order.
    pub layouts: Vec<PathBuf>,
}

impl ImageCache {
    /// Where the registry listens on a machine.
    pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3172);
}

/// What the registry is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCacheStatus {
    /// Where it listens now.
    pub listening: Option<SocketAddr>,
}

macro_rules! documents {
    ($($name:ty => $file:literal),* $(,)?) => { $(impl Document for $name { const FILE: &'static str = $file; })* };
}

documents! {
    KubePrism => "kubeprism.json",
    KubePrismStatus => "status/kubeprism.json",
    Dns => "dns.json",
    DnsStatus => "status/dns.json",
    StaticPods => "static-pods.json",
    StaticPodsStatus => "status/static-pods.json",
    ImageCache => "image-cache.json",
    ImageCacheStatus => "status/image-cache.json",
}

/// Makes the folder as both sides need it: dataplane reads all and writes the status only.
///
/// # Errors
/// When a folder cannot be made or given to dataplane's user.
pub fn prepare(folder: &Path) -> io::Result<()> {
    let status = folder.join(STATUS);
    std::fs::create_dir_all(&status)?;
    let user = rustix::fs::Uid::from_raw(paths::DATAPLANE_UID);
    let group = rustix::fs::Gid::from_raw(paths::DATAPLANE_UID);
    rustix::fs::chmod(folder, rustix::fs::Mode::from_raw_mode(0o750))?;
    rustix::fs::chown(folder, None, Some(group))?;
    rustix::fs::chown(&status, Some(user), Some(group))?;
    Ok(())
}

/// Replaces the document in `folder` ([`paths::DATAPLANE`] on a machine).
///
/// # Errors
/// When the folder cannot be written; the old document is then still in place.
pub fn write_atomic<T: Document>(folder: &Path, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
    corten_base::fs::write_atomic(&folder.join(T::FILE), &bytes, 0o644, Durability::Volatile)
}

/// Reads the document in `folder`; nothing when it was never written.
///
/// # Errors
/// When the file cannot be read, is too large or does not parse.
pub fn read<T: Document>(folder: &Path) -> io::Result<Option<T>> {
    let path = folder.join(T::FILE);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > SIZE_MAX => return Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => {}
    }
    serde_json::from_slice(&std::fs::read(&path)?).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_survive_the_way_through_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read::<KubePrism>(folder.path()).expect("read"), None);
        let wanted = KubePrism {
            listen: Some("127.0.0.1:7445".parse().expect("an address")),
            endpoints: vec![Endpoint { host: "fd00::1".into(), port: 6443 }],
        };
        write_atomic(folder.path(), &wanted).expect("write");
        assert_eq!(read(folder.path()).expect("read"), Some(wanted.clone()));
        assert_eq!(wanted.endpoints[0].to_string(), "[fd00::1]:6443");
    }

    #[test]
    fn resolver_status_keys_by_socket_address() {
        let folder = tempfile::tempdir().expect("a folder");
        let status = DnsStatus {
            listeners: BTreeMap::from([("udp-127.0.0.53:53".into(), "running".into())]),
            upstreams: BTreeMap::from([("1.1.1.1:53".parse().expect("an address"), true)]),
        };
        write_atomic(folder.path(), &status).expect("write");
        assert_eq!(read(folder.path()).expect("read"), Some(status));
    }
}
