//! HPACK: fields of HTTP/2 out of bytes, and into them (RFC 7541).
//!
//! ```text
//! block ─▶ Decoder, which keeps what the peer refers to later, up to 4 KiB ─▶ name, value …
//! ```
//!
//! What is sent refers to numbers of the static table or spells things out, so that the peer keeps nothing.

use std::collections::VecDeque;

use httlib_huffman::DecoderSpeed;

use crate::table::STATIC;

/// What a peer may have kept, bytes: the initial size, and never more (RFC 9113, 6.5.2).
const TABLE_BYTES_MAX: usize = 4096;
/// What the fields of one block may come to, bytes: a block may refer to the same field thousands of times.
const FIELDS_BYTES_MAX: usize = 32 * 1024;
/// What an entry counts more than its texts (RFC 7541, 4.1).
const ENTRY_BYTES: usize = 32;
/// Longest integer, in bytes after the first: enough for 28 bits.
const INTEGER_BYTES_MAX: u32 = 4;

/// A block that cannot be read, or comes to more than it may. The state of the connection is lost with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

type Entry = (Box<[u8]>, Box<[u8]>);

/// Reads blocks of one direction of a connection, one after the other.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// What the peer may refer to, the latest first.
    entries: VecDeque<Entry>,
    size: usize,
    size_max: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, size_max: TABLE_BYTES_MAX }
    }
}

impl Decoder {
    /// Reads a block and hands on its fields.
    pub fn decode(&mut self, block: &[u8], mut field: impl FnMut(&[u8], &[u8])) -> Result<(), Malformed> {
        let mut reader = Reader(block);
        let mut left = FIELDS_BYTES_MAX;
        let mut tell = |name: &[u8], value: &[u8]| {
            left = left.checked_sub(name.len() + value.len() + ENTRY_BYTES).ok_or(Malformed)?;
            field(name, value);
            Ok(())
        };
        while let Some(first) = reader.0.first().copied() {
            if first & 0x80 != 0 {
                let (name, value) = self.entry(reader.integer(7)?)?;
                tell(name, value)?;
            } else if first & 0xc0 == 0x40 {
                let (name, value) = self.literal(&mut reader, 6)?;
                tell(&name, &value)?;
                self.keep(name, value);
            } else if first & 0xe0 == 0x20 {
                let size = reader.integer(5)?;
                if size > TABLE_BYTES_MAX {
                    return Err(Malformed);
                }
                self.size_max = size;
                self.evict();
            } else {
                let (name, value) = self.literal(&mut reader, 4)?;
                tell(&name, &value)?;
            }
        }
        Ok(())
    }

    fn literal(&self, reader: &mut Reader<'_>, prefix: u8) -> Result<Entry, Malformed> {
        let number = reader.integer(prefix)?;
        let name = if number == 0 { reader.text()? } else { self.entry(number)?.0.into() };
        Ok((name, reader.text()?))
    }

    fn entry(&self, number: usize) -> Result<(&[u8], &[u8]), Malformed> {
        let index = number.checked_sub(1).ok_or(Malformed)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.entries.get(index - STATIC.len()).ok_or(Malformed)?;
        Ok((name, value))
    }

    fn keep(&mut self, name: Box<[u8]>, value: Box<[u8]>) {
        self.size += name.len() + value.len() + ENTRY_BYTES;
        self.entries.push_front((name, value));
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.size_max {
            let Some((name, value)) = self.entries.pop_back() else { break };
            self.size -= name.len() + value.len() + ENTRY_BYTES;
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    /// An integer that begins in the last `prefix` bits of the next byte (RFC 7541, 5.1).
    fn integer(&mut self, prefix: u8) -> Result<usize, Malformed> {
        let mask = u8::MAX >> (8 - prefix);
        let first = self.byte()? & mask;
        let mut value = usize::from(first);
        if first < mask {
            return Ok(value);
        }
        for position in 0..INTEGER_BYTES_MAX {
            let next = self.byte()?;
            value += usize::from(next & 0x7f) << (7 * position);
            if next & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A text, as it is or in Huffman's code (RFC 7541, 5.2).
    fn text(&mut self) -> Result<Box<[u8]>, Malformed> {
        let is_coded = self.0.first().ok_or(Malformed)? & 0x80 != 0;
        let length = self.integer(7)?;
        if length > self.0.len() {
            return Err(Malformed);
        }
        let (bytes, rest): (&'a [u8], _) = self.0.split_at(length);
        self.0 = rest;
        if !is_coded {
            return Ok(bytes.into());
        }
        let mut text = Vec::with_capacity(length * 2);
        httlib_huffman::decode(bytes, &mut text, DecoderSpeed::FiveBits).map_err(|_| Malformed)?;
        Ok(text.into())
    }
}

/// Begins a block: its peer need keep nothing of it, also one that may not (RFC 7541, 4.2).
pub(crate) fn begun() -> Vec<u8> {
    vec![0x20]
}

/// Appends a field of the static table.
pub(crate) fn put_known(block: &mut Vec<u8>, number: u8) {
    block.push(0x80 | number);
}

/// Appends a field whose name is in the static table.
pub(crate) fn put_value(block: &mut Vec<u8>, number: u8, value: &[u8]) {
    put_integer(block, 4, usize::from(number));
    put_text(block, value);
}

/// Appends a field.
pub(crate) fn put_field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    put_text(block, name);
    put_text(block, value);
}

fn put_text(block: &mut Vec<u8>, text: &[u8]) {
    put_integer(block, 7, text.len());
    block.extend_from_slice(text);
}

/// Appends an integer whose first byte has no other bits set.
fn put_integer(block: &mut Vec<u8>, prefix: u8, value: usize) {
    let mask = usize::from(u8::MAX >> (8 - prefix));
    let byte = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    if value < mask {
        block.push(byte(value));
        return;
    }
    block.push(byte(mask));
    let mut rest = value - mask;
    while rest >= 0x80 {
        block.push(byte(rest & 0x7f | 0x80));
        rest >>= 7;
    }
    block.push(byte(rest));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let mut found = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder.decode(block, |name, value| found.push((text(name), text(value))))?;
        Ok(found)
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn blocks_of_the_specification_are_read_and_later_ones_refer_to_earlier_ones() {
        // RFC 7541, C.4: Huffman's code, with the table.
        let mut decoder = Decoder::default();
        let first = hex("828684418cf1e3c2e5f23a6ba0ab90f4ff");
        let common =
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        assert_eq!(fields(&mut decoder, &first).unwrap(), pairs(&common));
        assert_eq!(decoder.size, 57);
        let second = hex("828684be5886a8eb10649cbf");
        let found = fields(&mut decoder, &second).unwrap();
        assert_eq!(found[..4], pairs(&common));
        assert_eq!(found[4], ("cache-control".to_owned(), "no-cache".to_owned()));
        assert_eq!(decoder.size, 110);
        assert!(fields(&mut decoder, &[0x20]).unwrap().is_empty(), "the peer keeps nothing from now on");
        assert_eq!((decoder.size, decoder.entries.capacity()), (0, 0));
        assert_eq!(fields(&mut decoder, &second), Err(Malformed), "it refers to what is gone");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut block = Vec::new();
        put_known(&mut block, 3);
        put_value(&mut block, 4, &[b'x'; 300]);
        put_value(&mut block, 31, b"application/grpc");
        put_field(&mut block, b"grpc-status", b"0");
        let found = fields(&mut Decoder::default(), &block).unwrap();
        let long = "x".repeat(300);
        let expected = [
            (":method", "POST"),
            (":path", long.as_str()),
            ("content-type", "application/grpc"),
            ("grpc-status", "0"),
        ];
        assert_eq!(found, pairs(&expected));
    }

    #[test]
    fn a_table_never_holds_more_than_it_may() {
        let mut decoder = Decoder::default();
        let mut block = vec![0x40, 1, b'n'];
        put_text(&mut block, &[b'v'; 1000]);
        for _ in 0..10 {
            decoder.decode(&block, |_, _| {}).unwrap();
            assert!(decoder.size <= TABLE_BYTES_MAX, "{}", decoder.size);
        }
        assert_eq!(decoder.entries.len(), 3);
        let too_large = [0x3f, 0xe2, 0x1f];
        assert_eq!(decoder.decode(&too_large, |_, _| {}), Err(Malformed), "4097 bytes");
    }

    #[test]
    fn a_block_comes_to_no_more_than_it_may_however_often_it_refers_to_a_field() {
        let mut decoder = Decoder::default();
        let mut block = vec![0x44];
        put_text(&mut block, &[0xff; 4000]);
        decoder.decode(&block, |_, _| {}).unwrap();
        let mut fields = 0;
        assert_eq!(decoder.decode(&[0xbe; 16_384], |_, _| fields += 1), Err(Malformed));
        assert_eq!(fields, FIELDS_BYTES_MAX / (":path".len() + 4000 + ENTRY_BYTES));
    }

    #[test]
    fn arbitrary_bytes_lead_to_fields_or_an_error() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut decoder = Decoder::default();
            for block in bytes.chunks(32) {
                let _ = decoder.decode(block, |_, _| {});
                assert!(decoder.size <= TABLE_BYTES_MAX);
            }
        });
    }

    fn hex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }
}
