//! The end of something that may have no end.

/// The last bytes of what comes, in whole lines.
#[derive(Debug)]
pub struct Tail {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// Bytes that came before.
    gone: u64,
}

impl Tail {
    /// Nothing yet, of which so many bytes are kept.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, gone: 0 }
    }

    /// Adds what comes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Now and then, so that each byte is moved a few times at most.
        if self.bytes.len() > self.bytes_max.saturating_mul(2) {
            self.cut();
        }
    }

    /// Whether nothing came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes, and in front of them how many are missing.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.cut();
        if self.gone == 0 {
            return self.bytes;
        }
        let mut all = format!("({} bytes before this are left out)\n", self.gone).into_bytes();
        all.append(&mut self.bytes);
        all
    }

    fn cut(&mut self) {
        let over = self.bytes.len().saturating_sub(self.bytes_max);
        if over == 0 {
            return;
        }
        let rest = self.bytes.get(over..).unwrap_or_default();
        let line = rest.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let cut = over + line;
        self.bytes.drain(..cut);
        self.gone = self.gone.saturating_add(u64::try_from(cut).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_lines_stay_and_it_is_told_how_much_is_gone() {
        let mut tail = Tail::new(12);
        for number in 0..100 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        let text = String::from_utf8(tail.finish()).expect("text");
        assert_eq!(text, "(782 bytes before this are left out)\nline 99\n");
        let mut short = Tail::new(12);
        short.push(b"a\nb");
        assert_eq!(short.finish(), b"a\nb");
    }
}
