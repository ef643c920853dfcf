//! The client of DHCP for IPv6, and what its lease means for this machine.
//!
//! Only addresses, servers and names come this way; routes of IPv6 are advertised by routers, which the kernel hears.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::Context as _;
use corten_base::Backoff;
use corten_resources::network::{
    AddressSpec, ClientIdentifier, Dhcp6Operator, Layer, ResolverSpec, Scope, TimeServerSpec,
};
use ipnet::IpNet;
use mozim::{
    DhcpV6Client, DhcpV6Config, DhcpV6Duid, DhcpV6DuidEnterpriseNumber, DhcpV6DuidLinkLayerAddr,
    DhcpV6DuidLinkLayerAddrPlusTime, DhcpV6DuidUuid, DhcpV6Lease, DhcpV6Mode, DhcpV6State,
};

use crate::dhcp::{Job, Progress, Report};
use crate::hostname::split;
use crate::lease::{ITEMS_MAX, Outcome, is_name};

/// The option with the client's name (RFC 4704).
const CLIENT_NAME: u16 = 39;
/// Bytes of an option before its content: code and length.
const OPTION_HEADER: usize = 4;

/// Asks until something goes wrong.
///
/// # Errors
/// What went wrong.
pub async fn session(
    job: &Job,
    settings: &Dhcp6Operator,
    from: Ipv6Addr,
    report: &Report,
    backoff: &mut Backoff,
) -> anyhow::Result<()> {
    let config = config(job, settings, from)?;
    let mut client = DhcpV6Client::init(config, None).await.context("failed to start the DHCP client")?;
    loop {
        match client.run().await.context("failed to get a lease")? {
            DhcpV6State::Done(lease) => {
                backoff.reset();
                let outcome = outcome(&job.link, settings, &Lease::from(lease.as_ref()));
                report.tell(Progress::Bound(Box::new(outcome)));
            }
            DhcpV6State::Solicit if matches!(report.known(), Progress::Bound(_)) => {
                report.tell(Progress::Lost);
            }
            _ => {}
        }
    }
}

fn config(job: &Job, settings: &Dhcp6Operator, from: Ipv6Addr) -> anyhow::Result<DhcpV6Config> {
    let mut config = DhcpV6Config::new(&job.link, DhcpV6Mode::NonTemporaryAddresses);
    config.set_iface_index(job.index).set_link_local_ip(from);
    // The same for the same link, and no other of this machine's (RFC 8415, 12).
    let last = job.hardware_addr.last_chunk().copied().unwrap_or_default();
    config.set_iaid(u32::from_be_bytes(last));
    let identifier = &settings.client_identifier;
    match identifier.kind {
        // A server answers nobody without an identifier.
        ClientIdentifier::None | ClientIdentifier::Mac => {
            config.set_duid_by_iface_mac(&job.hardware_addr);
        }
        ClientIdentifier::Duid => {
            let bytes = hex::decode(identifier.duid_raw_hex.replace(':', ""));
            config.set_duid(duid(&bytes.context("the DUID is not hexadecimal")?));
        }
    }
    if !settings.skip_hostname_request {
        config.request_extra_dhcp_opts(&[CLIENT_NAME]);
    }
    Ok(config)
}

/// An identifier as the library reads it out of answers: it compares what it understands by its parts.
fn duid(bytes: &[u8]) -> DhcpV6Duid {
    let (kind, rest) =
        bytes.split_first_chunk().map_or((0, bytes), |(kind, rest)| (u16::from_be_bytes(*kind), rest));
    let typed = match kind {
        1 => hardware(rest).and_then(|(hardware, rest)| {
            let (time, address) = rest.split_first_chunk()?;
            let mut duid = DhcpV6DuidLinkLayerAddrPlusTime::new(hardware, address);
            duid.time = u32::from_be_bytes(*time);
            Some(DhcpV6Duid::LinkLayerAddressPlusTime(duid))
        }),
        2 => rest.split_first_chunk().map(|(number, identifier)| {
            let number = u32::from_be_bytes(*number);
            DhcpV6Duid::EnterpriseNumber(DhcpV6DuidEnterpriseNumber::new(number, identifier))
        }),
        3 => hardware(rest).map(|(hardware, address)| {
            DhcpV6Duid::LinkLayerAddress(DhcpV6DuidLinkLayerAddr::new(hardware, address))
        }),
        4 => {
            rest.try_into().ok().map(|uuid| DhcpV6Duid::UUID(DhcpV6DuidUuid::new(u128::from_be_bytes(uuid))))
        }
        _ => None,
    };
    typed.unwrap_or_else(|| DhcpV6Duid::Raw(bytes.to_vec()))
}

/// The type of hardware at the begin, and the rest.
fn hardware(bytes: &[u8]) -> Option<(u16, &[u8])> {
    bytes.split_first_chunk().map(|(kind, rest)| (u16::from_be_bytes(*kind), rest))
}

/// A lease, as far as it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Own address.
    pub address: Option<Ipv6Addr>,
    /// Name servers.
    pub name_servers: Vec<Ipv6Addr>,
    /// Time servers, by address or name.
    pub time_servers: Vec<String>,
    /// Search domains.
    pub search_domains: Vec<String>,
    /// Hostname, perhaps with a domain.
    pub hostname: Option<String>,
}

impl From<&DhcpV6Lease> for Lease {
    fn from(lease: &DhcpV6Lease) -> Self {
        let some = |list: &[String]| list.iter().take(ITEMS_MAX).cloned().collect();
        let names = lease.get_option_raw(CLIENT_NAME).unwrap_or_default();
        Self {
            address: Some(lease.address).filter(|address| !address.is_unspecified()),
            name_servers: lease.dns_srvs.iter().copied().take(ITEMS_MAX).collect(),
            time_servers: some(&lease.ntp_srvs),
            search_domains: some(&lease.domain_list),
            hostname: names.first().and_then(|option| client_name(option.get(OPTION_HEADER..)?)),
        }
    }
}

/// The name in the option's content: a byte of flags, then labels, each after its length.
fn client_name(content: &[u8]) -> Option<String> {
    let mut labels = Vec::new();
    let mut rest = content.get(1..)?;
    while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length != 0) {
        let (label, next) = after.split_at_checked(usize::from(*length))?;
        labels.push(std::str::from_utf8(label).ok()?);
        rest = next;
    }
    (!labels.is_empty()).then(|| labels.join("."))
}

/// What a lease on `link` asks for.
#[must_use]
pub fn outcome(link: &str, settings: &Dhcp6Operator, lease: &Lease) -> Outcome {
    let Some(own) = lease.address else { return Outcome::default() };
    let layer = Layer::Operator;
    let mut outcome = Outcome {
        address: Some(AddressSpec {
            priority: settings.route_metric,
            ..AddressSpec::new(layer, link, IpNet::from(IpAddr::V6(own)), Scope::GLOBAL)
        }),
        ..Outcome::default()
    };
    if !settings.skip_hostname_request {
        outcome.hostname =
            lease.hostname.as_ref().filter(|name| is_name(name)).map(|name| split(layer, name));
    }
    if !lease.name_servers.is_empty() {
        let servers = lease.name_servers.iter().copied().map(IpAddr::V6).collect();
        let search_domains = lease.search_domains.iter().filter(|domain| is_name(domain)).cloned().collect();
        outcome.resolvers = Some(ResolverSpec { search_domains, ..ResolverSpec::plain(layer, servers) });
    }
    let is_server = |server: &&String| server.parse::<IpAddr>().is_ok() || is_name(server);
    let time_servers: Vec<String> = lease.time_servers.iter().filter(is_server).cloned().collect();
    if !time_servers.is_empty() {
        outcome.time_servers = Some(TimeServerSpec { time_servers, use_nts: false, layer });
    }
    outcome
}

#[cfg(test)]
mod tests;
