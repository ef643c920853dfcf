//! Addresses: from netlink messages to statuses, and back.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_resources::network::{AddressFlags, AddressSpec, AddressStatus, Family, Scope};
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags as WireFlags, AddressMessage, AddressScope as WireScope,
};

use crate::kernel::{Kernel, Snapshot, errno, refused};

/// Sending two frames takes no time.
const ANNOUNCE_DEADLINE: Duration = Duration::from_secs(5);
/// Flags that a caller may set; the others are the kernel's to report.
const SETTABLE: u32 = AddressFlags::NODAD.0 | AddressFlags::NOPREFIXROUTE.0 | AddressFlags::MANAGETEMPADDR.0;

pub(crate) fn status(message: &AddressMessage, snapshot: &Snapshot) -> Option<AddressStatus> {
    let header = &message.header;
    let mut status = AddressStatus {
        link_index: header.index,
        link_name: snapshot.link_name(header.index)?.to_owned(),
        family: if header.family == AddressFamily::Inet6 { Family::Inet6 } else { Family::Inet4 },
        scope: Scope(u8::from(header.scope).into()),
        flags: AddressFlags(header.flags.bits().into()),
        ..AddressStatus::default()
    };
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => address = address.or(Some(*ip)),
            AddressAttribute::Local(ip) => {
                status.local = Some(*ip);
                address = Some(*ip);
            }
            AddressAttribute::Broadcast(ip) => status.broadcast = Some(IpAddr::V4(*ip)),
            AddressAttribute::Anycast(ip) => status.anycast = Some(IpAddr::V6(*ip)),
            AddressAttribute::Multicast(ip) => status.multicast = Some(IpAddr::V6(*ip)),
            AddressAttribute::Flags(flags) => status.flags = AddressFlags(flags.bits()),
            AddressAttribute::RoutePriority(priority) => status.priority = *priority,
            _ => {}
        }
    }
    status.address = IpNet::new(address?, header.prefix_len).ok()?;
    Some(status)
}

/// What may be done to the kernel's addresses.
pub trait AddressChanges: Send + Sync {
    /// Assigns an address to the link with this index; one that is there already is brought in line.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn add_address(&self, index: u32, spec: &AddressSpec) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Takes an address away; one that is gone already is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn delete_address(&self, index: u32, address: IpNet) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl AddressChanges for Kernel {
    async fn add_address(&self, index: u32, spec: &AddressSpec) -> anyhow::Result<()> {
        let (address, length) = (spec.address.addr(), spec.address.prefix_len());
        let mut request = self.handle.address().add(index, address, length).replace();
        let message = request.message_mut();
        message.header.scope = WireScope::from(u8::try_from(spec.scope.0).unwrap_or(0));
        let flags = spec.flags.0 & SETTABLE;
        if flags != 0 {
            message.attributes.push(AddressAttribute::Flags(WireFlags::from_bits_retain(flags)));
        }
        if spec.priority != 0 {
            message.attributes.push(AddressAttribute::RoutePriority(spec.priority));
        }
        let result = request.execute().await;
        result
            .map_err(|error| refused(&error))
            .with_context(|| format!("failed to assign {}", spec.address))?;
        if let IpAddr::V4(address) = address
            && spec.announce_with_arp
        {
            announce(index, address).await;
        }
        Ok(())
    }

    async fn delete_address(&self, index: u32, address: IpNet) -> anyhow::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family =
            if address.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.prefix_len = address.prefix_len();
        message.header.index = index;
        message.attributes.push(AddressAttribute::Address(address.addr()));
        message.attributes.push(AddressAttribute::Local(address.addr()));
        match self.handle.address().del(message).execute().await {
            Err(error) if is_gone(errno(&error)) => Ok(()),
            result => result
                .map_err(|error| refused(&error))
                .with_context(|| format!("failed to take {address} away")),
        }
    }
}

/// Tells the neighbours of an address. Who does not hear of it asks when the entry for the address is old.
async fn announce(index: u32, address: Ipv4Addr) {
    let told = blocking(ANNOUNCE_DEADLINE, move || corten_sys::arp::announce(index, address)).await;
    let failure = match told {
        Ok(Ok(())) => return,
        Ok(Err(error)) => corten_base::chain(&error),
        Err(error) => corten_base::chain(&error),
    };
    tracing::warn!(%address, error = failure, "the neighbours were not told of an address");
}

fn is_gone(errno: i32) -> bool {
    errno == rustix::io::Errno::ADDRNOTAVAIL.raw_os_error()
        || errno == rustix::io::Errno::NODEV.raw_os_error()
}
