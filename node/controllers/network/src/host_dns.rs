//! The host's resolver in dataplane: its document, and what it reports.
//!
//! ```text
//! HostDnsConfig, ResolverStatus, HostnameStatus, NodeAddress, Member ──▶ dns.json
//! status/dns.json ──▶ DnsResolveCache, DnsUpstream
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use corten_dataplane::files::{self, Dns, DnsStatus};
use corten_resource::{Driver, Plan, Source, View, controller};
use corten_resources::cluster::Member;
use corten_resources::network::{
    DnsResolveCache, DnsUpstream, HostDnsConfig, HostnameStatus, NameServerProtocol, NodeAddress,
    ResolverStatus,
};

use crate::follow::follow;

/// Port of name servers.
const DNS_PORT: u16 = 53;
/// How long the file may take to be written; its file system is in memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes the document and publishes the report.
#[derive(Debug)]
pub struct HostDns {
    folder: PathBuf,
}

controller!(HostDns, "network.HostDns",
    inputs: [weak HostDnsConfig, weak ResolverStatus, weak HostnameStatus, weak NodeAddress, weak Member],
    outputs: [exclusive DnsResolveCache, exclusive DnsUpstream]);

impl HostDns {
    /// A controller over the dataplane folder.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

/// Short and full names of this machine and of members.
fn names(view: &View<HostDns>, members: bool) -> BTreeMap<String, Vec<IpAddr>> {
    let mut names = BTreeMap::new();
    if members {
        for member in view.list::<Member>() {
            let full = member.spec.hostname.to_lowercase();
            let short = full.split('.').next().unwrap_or_default().to_owned();
            for name in [full, short, member.metadata.id.to_lowercase()] {
                names.insert(name, member.spec.addresses.clone());
            }
        }
    }
    let own = view.get::<HostnameStatus>(HostnameStatus::ID);
    let address = view.get::<NodeAddress>(NodeAddress::DEFAULT);
    if let (Some(own), Some(address)) = (own, address) {
        for name in [own.spec.hostname.to_lowercase(), own.spec.fqdn().to_lowercase()] {
            names.insert(name, address.spec.ips());
        }
    }
    names.remove("");
    names
}

fn document(view: &View<HostDns>) -> Dns {
    let Some(config) = view.get::<HostDnsConfig>(HostDnsConfig::ID).filter(|row| row.spec.enabled) else {
        return Dns { upstreams: upstreams(view), ..Dns::default() };
    };
    Dns {
        listen: config.spec.listen_addresses.clone(),
        upstreams: upstreams(view),
        names: names(view, config.spec.resolve_member_names),
    }
}

/// Plain servers; those that want TLS cannot be asked and are left out.
fn upstreams(view: &View<HostDns>) -> Vec<SocketAddr> {
    let Some(resolvers) = view.get::<ResolverStatus>(ResolverStatus::ID) else { return Vec::new() };
    let plain =
        resolvers.spec.name_servers.iter().filter(|server| server.protocol == NameServerProtocol::Do53);
    plain.filter_map(|server| Some((server.addr?, DNS_PORT).into())).collect()
}

impl Driver for HostDns {
    type Observed = (Option<Dns>, DnsStatus);
    type Op = Dns;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Self::Observed> {
        // A document that does not parse is one that must be written again.
        let written = files::read::<Dns>(&self.folder).unwrap_or_default();
        Ok((written, files::read(&self.folder).unwrap_or_default().unwrap_or_default()))
    }

    fn plan(&self, view: &View<Self>, (written, status): &Self::Observed) -> Plan<Self, Dns> {
        let mut plan = Plan::new();
        let wanted = document(view);
        if written.as_ref() != Some(&wanted) {
            plan.op(wanted.clone());
        }
        for (listener, status) in &status.listeners {
            plan.put::<DnsResolveCache>(listener, DnsResolveCache { status: status.clone() });
        }
        // One that was not asked yet is neither healthy nor ill: it has no row.
        let reported = |address: &SocketAddr| status.upstreams.get(address).copied();
        for (address, healthy) in wanted.upstreams.iter().filter_map(|it| Some((it, reported(it)?))) {
            let ip = address.ip().to_string();
            plan.put::<DnsUpstream>(&ip, DnsUpstream { healthy, addr: address.to_string() });
        }
        plan
    }

    async fn apply(&mut self, document: Dns) -> anyhow::Result<()> {
        let folder = self.folder.clone();
        let write = move || files::prepare(&folder).and_then(|()| files::write_atomic(&folder, &document));
        corten_base::blocking(PATIENCE, write).await?.context("failed to write the resolver's document")
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![follow("dns-status", self.folder.join(files::STATUS))]
    }
}
