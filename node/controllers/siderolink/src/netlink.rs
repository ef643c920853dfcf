//! Netlink messages, as bytes: headers, attributes, attributes in attributes. Nothing here talks to the kernel.

use std::iter;

/// Bytes of a message's header: length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// Bytes of an attribute's header: length and type.
const ATTRIBUTE_HEADER: usize = 4;
/// Everything begins at a multiple of so many bytes.
const ALIGNMENT: usize = 4;
/// Marks an attribute that holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that are no marks.
const TYPE: u16 = 0x3fff;

/// A message under construction. It may hold keys, so that it does not print.
#[derive(Clone)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message without content.
    #[must_use]
    pub fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.resize(HEADER, 0);
        Self(bytes)
    }

    /// Adds bytes as they are, with padding.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// Adds an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.begun(kind, |message| message.0.extend_from_slice(value));
    }

    /// Adds an attribute with a text, which ends with a zero.
    pub fn text(&mut self, kind: u16, text: &str) {
        self.begun(kind, |message| {
            message.0.extend_from_slice(text.as_bytes());
            message.0.push(0);
        });
    }

    /// Adds an attribute that holds the attributes which `fill` adds.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        self.begun(kind | NESTED, fill);
    }

    /// Adds an attribute whose content `fill` adds. The length in its header leaves out the padding after it.
    fn begun(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        if let Some(field) = self.0.get_mut(start..start + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.bytes(&[]);
    }

    /// The whole message.
    #[must_use]
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        for (at, value) in [(0, length), (8, sequence)] {
            if let Some(field) = self.0.get_mut(at..at + 4) {
                field.copy_from_slice(&value.to_ne_bytes());
            }
        }
        self.0
    }
}

/// A message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Its type.
    pub kind: u16,
    /// The request that it answers.
    pub sequence: u32,
    /// What comes after the header.
    pub body: &'a [u8],
}

/// The messages in a packet; what is cut off ends them.
pub fn messages(packet: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = packet;
    iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
        let message = rest.get(..length).filter(|message| message.len() >= HEADER)?;
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(Received {
            kind: u16::from_ne_bytes(*message.get(4..)?.first_chunk()?),
            sequence: u32::from_ne_bytes(*message.get(8..)?.first_chunk()?),
            body: message.get(HEADER..)?,
        })
    })
}

/// Types and contents of the attributes in `bytes`; what is cut off ends them.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let attribute = rest.get(..length).filter(|attribute| attribute.len() >= ATTRIBUTE_HEADER)?;
        let kind = u16::from_ne_bytes(*attribute.get(2..)?.first_chunk()?) & TYPE;
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, attribute.get(ATTRIBUTE_HEADER..)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_padding_is_no_content() {
        let mut message = Message::new(7, 5);
        message.bytes(&[1, 1, 0, 0]);
        message.text(2, "wg0");
        message.nest(8, |peers| {
            peers.nest(0, |peer| {
                peer.attribute(1, &[9; 5]);
                peer.attribute(5, &25_u16.to_ne_bytes());
            });
        });
        let packet = [message.clone().finish(3), message.finish(4)].concat();
        let read: Vec<_> = messages(&packet).collect();
        let sequences: Vec<_> = read.iter().map(|message| (message.kind, message.sequence)).collect();
        assert_eq!(sequences, [(7, 3), (7, 4)]);
        let top: Vec<_> = attributes(&read[0].body[4..]).collect();
        assert_eq!(top[0], (2, &b"wg0\0"[..]));
        let peer = attributes(top[1].1).next().expect("a peer");
        let fields: Vec<_> = attributes(peer.1).collect();
        assert_eq!((top[1].0, peer.0), (8, 0), "marks are no part of the type");
        assert_eq!(fields, [(1, &[9_u8; 5][..]), (5, &25_u16.to_ne_bytes()[..])]);
    }

    #[test]
    fn fuzz_any_packet_ends() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let most = bytes.len() / ATTRIBUTE_HEADER;
            assert!(messages(bytes).count() <= most);
            assert!(attributes(bytes).count() <= most);
        });
    }
}
