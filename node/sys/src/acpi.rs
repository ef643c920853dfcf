//! Events of the machine's buttons, as ACPI multicasts them over generic netlink.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, send, socket_with,
};

use crate::Result;
use crate::error::failed;
use crate::ffi::check;

const HEADERS_BYTES: usize = 20;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;
const ACPI_GENL_ATTR_EVENT: u16 = 1;
/// Offset of the event's type in `struct acpi_genl_event`, after class (20), bus id (15) and padding.
const DEVICE_CLASS_BYTES: usize = 20;

/// A listener for ACPI events; never blocks, poll its descriptor.
#[derive(Debug)]
pub struct Events {
    socket: OwnedFd,
}

/// An ACPI event: the class of the device that sent it, such as `button/power`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Class of the device.
    pub device_class: String,
}

impl Event {
    /// Whether someone pressed the power button, or the host of a virtual machine did.
    pub fn is_power_button(&self) -> bool {
        self.device_class == "button/power"
    }
}

impl Events {
    /// Listens. Fails on a machine without ACPI.
    pub fn open() -> Result<Self> {
        Self::connect().map_err(failed("listen to", "ACPI events"))
    }

    fn connect() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::GENERIC))?;
        bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        send(&socket, &family_request(), SendFlags::empty())?;
        // The kernel answers a control request before send returns.
        let mut buffer = [0; 4096];
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let reply = buffer.get(..length).unwrap_or_default();
        let group = multicast_group(reply).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let size = libc::socklen_t::try_from(size_of::<u32>()).unwrap_or_default();
        // SAFETY: the option reads one u32 from the pointer, which is valid for the call; the descriptor is open.
        check(unsafe {
            let (level, option) = (libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP);
            libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const group).cast(), size)
        })?;
        Ok(Self { socket })
    }

    /// The next event, `None` if there is none now. What is not an event is passed over.
    pub fn next_event(&self) -> Result<Option<Event>> {
        let mut buffer = [0; 4096];
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => {
                    if let Some(event) = parse_event(buffer.get(..length).unwrap_or_default()) {
                        return Ok(Some(event));
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                // Events were lost; a button pressed that often will be pressed again.
                Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed("receive", "ACPI events")(errno)),
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks the generic netlink controller about the family `acpi_event`.
fn family_request() -> Vec<u8> {
    let name = b"acpi_event\0";
    let attribute_bytes = 4 + name.len();
    let total = HEADERS_BYTES + attribute_bytes.next_multiple_of(4);
    let mut request = Vec::with_capacity(total);
    request.extend(u32::try_from(total).unwrap_or_default().to_ne_bytes());
    request.extend(GENL_ID_CTRL.to_ne_bytes());
    request.extend(u16::try_from(libc::NLM_F_REQUEST).unwrap_or_default().to_ne_bytes());
    request.extend([0; 8]);
    request.extend([CTRL_CMD_GETFAMILY, 1, 0, 0]);
    request.extend(u16::try_from(attribute_bytes).unwrap_or_default().to_ne_bytes());
    request.extend(CTRL_ATTR_FAMILY_NAME.to_ne_bytes());
    request.extend(name);
    request.resize(total, 0);
    request
}

/// The id of the family's only multicast group, in the controller's answer.
fn multicast_group(reply: &[u8]) -> Option<u32> {
    let groups = attribute(reply.get(HEADERS_BYTES..)?, CTRL_ATTR_MCAST_GROUPS)?;
    // A list of groups, numbered from 1.
    let first = attribute(groups, 1)?;
    Some(u32::from_ne_bytes(*attribute(first, CTRL_ATTR_MCAST_GRP_ID)?.first_chunk()?))
}

fn parse_event(packet: &[u8]) -> Option<Event> {
    let event = attribute(packet.get(HEADERS_BYTES..)?, ACPI_GENL_ATTR_EVENT)?;
    let class = event.get(..DEVICE_CLASS_BYTES)?;
    let text = class.split(|byte| *byte == 0).next()?;
    Some(Event { device_class: String::from_utf8_lossy(text).into_owned() })
}

/// The value of the first attribute of a type.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    const TYPE_MASK: u16 = 0x3FFF;
    loop {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & TYPE_MASK;
        let value = rest.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_bytes(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn the_group_and_the_button_are_found() {
        let group =
            [attribute_bytes(1, b"acpi_mc_group\0"), attribute_bytes(2, &7u32.to_ne_bytes())].concat();
        let reply = [
            vec![0; HEADERS_BYTES],
            attribute_bytes(CTRL_ATTR_FAMILY_NAME, b"acpi_event\0"),
            attribute_bytes(CTRL_ATTR_MCAST_GROUPS, &attribute_bytes(1, &group)),
        ]
        .concat();
        assert_eq!(multicast_group(&reply), Some(7));
        let mut event = b"button/power".to_vec();
        event.resize(44, 0);
        let packet = [vec![0; HEADERS_BYTES], attribute_bytes(ACPI_GENL_ATTR_EVENT, &event)].concat();
        assert!(parse_event(&packet).unwrap().is_power_button());
    }

    #[test]
    fn nothing_makes_the_parsers_panic_or_hang() {
        bolero::check!().for_each(|bytes: &[u8]| {
            multicast_group(bytes);
            parse_event(bytes);
        });
    }
}
