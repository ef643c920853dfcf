//! Packets of a link as a stream, in the classic format of libpcap (pcap.rs).
//!
//!     link ──▶ kernel: the client's filter ──▶ packet socket, bounded ──▶ records ──▶ client
//!
//! A client that reads slowly loses packets, never anybody's memory: what finds no room in the socket is dropped by the
//! kernel, and the log says how much that was.

mod pcap;

use std::io;

use bytes::BytesMut;
use corten_api::common::Data;
use corten_api::machine::{BpfInstruction, PacketCaptureRequest};
use corten_resource::Resource;
use corten_resources::network::{LinkStatus, LinkType};
use corten_sys::packet::{Capture, INSTRUCTIONS_MAX, Instruction, Settings};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Status;

use self::pcap::Format;
use super::stream::{self, Reply, Sender, data};
use super::{Parts, system};

/// Captures at one time, each with its buffer in the kernel.
const CAPTURES_MAX: usize = 16;
/// Most bytes of a packet that are sent; no link carries more at once.
const SNAP_BYTES_MAX: u32 = 256 * 1024;
/// Bytes of a packet for a client that does not say.
const SNAP_BYTES: u32 = 64 * 1024;
/// A message is sent when it has this size, or when no more packets wait.
const MESSAGE_BYTES: usize = 32 * 1024;

static PLACES: Semaphore = Semaphore::const_new(CAPTURES_MAX);

/// Begins to capture; the reply ends with its client, or with the link.
///
/// # Errors
/// When there is no such link, or none whose packets the format can hold, when the kernel refuses the filter, and when
/// as many captures run as there may be.
pub async fn capture(parts: &Parts, request: &PacketCaptureRequest) -> Result<Reply<Data>, Status> {
    let link = link(parts, &request.interface)?;
    let link_type = link_type(link.spec.link_type)?;
    let filter = program(&request.bpf_filter)?;
    let place = PLACES.try_acquire().map_err(|_| {
        Status::resource_exhausted(format!("{CAPTURES_MAX} captures are running; end one of them first"))
    })?;
    let snap_bytes = if request.snap_len == 0 { SNAP_BYTES } else { request.snap_len.min(SNAP_BYTES_MAX) };
    let format = Format { link_type, snap_bytes };
    let (index, promiscuous) = (link.spec.index, request.promiscuous);
    let open = move || {
        let snap_bytes = usize::try_from(snap_bytes).unwrap_or(usize::MAX);
        let settings = Settings { link: index, promiscuous, snap_bytes, filter: &filter };
        Capture::open(&settings).map_err(|error| refusal(&error))
    };
    let capture = system::look(parts, open).await?;
    // What a machine sends itself would be there twice.
    let without_outgoing = link.spec.link_type == LinkType::LOOPBACK;
    let name = link.metadata.id;
    Ok(stream::from_task(move |sender| async move {
        let looked_at = LookedAt::new(name, capture, without_outgoing, place)?;
        looked_at.send(sender, &format).await
    }))
}

/// The link that is called so.
fn link(parts: &Parts, name: &str) -> Result<Resource<LinkStatus>, Status> {
    let links = parts.state.list::<LinkStatus>();
    let called = |link: &LinkStatus| link.alias == name || link.alt_names.iter().any(|other| other == name);
    let named = links.iter().position(|link| link.metadata.id == name);
    let found = named.or_else(|| links.iter().position(|link| !name.is_empty() && called(&link.spec)));
    found.and_then(|at| links.into_iter().nth(at)).ok_or_else(|| {
        Status::not_found(format!("there is no link {name:?}; `get links` lists those that there are"))
    })
}

/// What the format calls packets of such a link.
fn link_type(kind: LinkType) -> Result<u32, Status> {
    match kind {
        LinkType::ETHER | LinkType::LOOPBACK => Ok(pcap::ETHERNET),
        LinkType::NONE => Ok(pcap::RAW_IP),
        other => {
            Err(Status::invalid_argument(format!("packets of links of type {other} cannot be captured")))
        }
    }
}

/// A filter as the kernel takes it.
fn program(wire: &[BpfInstruction]) -> Result<Vec<Instruction>, Status> {
    if wire.len() > INSTRUCTIONS_MAX {
        return Err(Status::invalid_argument(format!(
            "a filter has at most {INSTRUCTIONS_MAX} instructions, this has {}",
            wire.len()
        )));
    }
    let numbered = wire.iter().enumerate();
    numbered.map(|(at, it)| instruction(it).ok_or_else(|| no_instruction(at, it))).collect()
}

fn instruction(wire: &BpfInstruction) -> Option<Instruction> {
    Some(Instruction {
        code: wire.op.try_into().ok()?,
        jump_true: wire.jt.try_into().ok()?,
        jump_false: wire.jf.try_into().ok()?,
        operand: wire.k,
    })
}

fn no_instruction(at: usize, wire: &BpfInstruction) -> Status {
    let BpfInstruction { op, jt, jf, k } = wire;
    Status::invalid_argument(format!("instruction {at} of the filter, {{{op}, {jt}, {jf}, {k}}}, is none"))
}

fn refusal(error: &corten_sys::Error) -> Status {
    let text = corten_base::chain(error);
    match error.errno().map(Errno::from_raw_os_error) {
        Some(Errno::INVAL) => Status::invalid_argument(text),
        Some(Errno::NODEV | Errno::NXIO) => Status::not_found(text),
        Some(Errno::PERM) => Status::permission_denied(text),
        _ => Status::internal(text),
    }
}

/// A link that somebody looks at.
struct LookedAt {
    link: String,
    capture: AsyncFd<Capture>,
    without_outgoing: bool,
    _place: SemaphorePermit<'static>,
}

impl LookedAt {
    fn new(
        link: String,
        capture: Capture,
        without_outgoing: bool,
        place: SemaphorePermit<'static>,
    ) -> Result<Self, Status> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; the capture owns its descriptor and closes it last"
        )]
        let capture = AsyncFd::with_interest(capture, Interest::READABLE)
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Self { link, capture, without_outgoing, _place: place })
    }

    /// Sends the header at once, then packets as they come.
    async fn send(mut self, sender: Sender<Data>, format: &Format) -> Result<(), Status> {
        let mut message = BytesMut::from(&format.header()[..]);
        loop {
            match self.capture.get_mut().next_packet() {
                Ok(Some(packet)) => {
                    if !(packet.is_outgoing && self.without_outgoing) {
                        format.record(&packet, &mut message);
                    }
                    if message.len() < MESSAGE_BYTES {
                        continue;
                    }
                }
                Ok(None) if message.is_empty() => {
                    let ready = self.capture.readable_mut().await;
                    ready.map_err(|error| Status::internal(error.to_string()))?.clear_ready();
                    continue;
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => {
                    return Err(Status::unavailable(format!("the link {:?} is down", self.link)));
                }
                Err(error) => return Err(refusal(&error)),
            }
            if sender.send(Ok(data(message.split().freeze()))).await.is_err() {
                return Ok(());
            }
        }
    }
}

impl Drop for LookedAt {
    fn drop(&mut self) {
        let lost = self.capture.get_ref().lost().unwrap_or_default();
        if lost > 0 {
            tracing::warn!(link = self.link, lost, "a client was too slow for the packets it captured");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use corten_sys::namespace::{Namespaces, unshare};
    use corten_sys::network::Links;
    use futures::StreamExt as _;
    use tonic::Code;

    use super::*;

    fn parts(links: &[(&str, u32, LinkType)]) -> Parts {
        let parts = Parts::for_tests();
        for (name, index, link_type) in links {
            let alt_names = vec![format!("also-{name}")];
            let link =
                LinkStatus { index: *index, link_type: *link_type, alt_names, ..LinkStatus::default() };
            parts.state.put("", name, link).expect("put");
        }
        parts
    }

    fn request(interface: &str) -> PacketCaptureRequest {
        PacketCaptureRequest { interface: interface.to_owned(), ..PacketCaptureRequest::default() }
    }

    #[tokio::test]
    async fn what_cannot_be_captured_is_refused_by_its_kind() {
        let parts = parts(&[
            ("lo", 1, LinkType::LOOPBACK),
            ("sit0", 2, LinkType::SIT),
            ("gone", 9999, LinkType::ETHER),
        ]);
        let instruction = |op| BpfInstruction { op, ..BpfInstruction::default() };
        let filtered = |bpf_filter| PacketCaptureRequest { bpf_filter, ..request("lo") };
        for (request, code) in [
            (request("eth9"), Code::NotFound),
            (request(""), Code::NotFound),
            (request("sit0"), Code::InvalidArgument),
            (request("gone"), Code::NotFound),
            (filtered(vec![instruction(0x1_0000)]), Code::InvalidArgument),
            (filtered(vec![instruction(6); INSTRUCTIONS_MAX + 1]), Code::InvalidArgument),
            // Loads a half-word and returns nothing.
            (filtered(vec![instruction(0x28)]), Code::InvalidArgument),
        ] {
            let error = capture(&parts, &request).await.map(drop).expect_err("a refusal");
            assert_eq!(error.code(), code, "{request:?}: {error}");
        }
    }

    /// Everything that arrives until there are so many bytes.
    async fn read(reply: &mut Reply<Data>, bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < bytes {
            let next = tokio::time::timeout(Duration::from_secs(10), reply.next()).await.expect("in time");
            all.extend_from_slice(&next.expect("more").expect("data").bytes);
        }
        all
    }

    /// Sends itself a datagram of 100 bytes over `lo` of a network of its own and looks at it.
    async fn loopback() {
        let parts = parts(&[("lo", 1, LinkType::LOOPBACK)]);
        let snapped = PacketCaptureRequest { snap_len: 60, ..request("also-lo") };
        let mut reply = capture(&parts, &snapped).await.expect("a capture");
        let header = read(&mut reply, 24).await;
        assert_eq!(header, Format { link_type: pcap::ETHERNET, snap_bytes: 60 }.header());

        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        socket.send_to(&[7; 100], socket.local_addr().expect("address")).expect("send");
        let record = read(&mut reply, 16 + 60).await;
        // Once, not once for each way.
        assert_eq!(record.len(), 16 + 60);
        assert_eq!(record[8..16], [60, 0, 0, 0, 14 + 20 + 8 + 100, 0, 0, 0]);

        let free = PLACES.available_permits();
        drop(reply);
        while PLACES.available_permits() == free {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_capture_begins_with_its_header_and_ends_with_its_client() {
        let work = || {
            unshare(Namespaces::NET).expect("a namespace");
            Links::open().and_then(|mut links| links.set_up("lo")).expect("lo");
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().expect("a runtime").block_on(loopback());
        };
        std::thread::scope(|scope| scope.spawn(work).join()).expect("no panic");
    }
}
