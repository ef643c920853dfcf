//! Lines out of a stream of bytes, of bounded length. Pure.
//!
//! ```text
//! bytes, as they come ─▶ Lines ─▶ whole lines; long ones cut, with a mark at the end
//! ```

/// Longest line that is handed on whole, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 32 * 1024;
/// What a line ends with that lost its end.
pub(super) const CUT: &[u8] = b" [cut]";
/// Room that is kept for the next line, in bytes.
const KEPT_BYTES: usize = 4 * 1024;

/// The line that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    /// The line was too long: its rest is skipped.
    is_skipping: bool,
}

impl Lines {
    /// Takes bytes and hands on the lines that they complete. Empty lines are none.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = bytes.split_at(end);
            self.extend(head, &mut line);
            self.end(&mut line);
            bytes = tail.get(1..).unwrap_or_default();
        }
        self.extend(bytes, &mut line);
    }

    /// Hands on what there is of the last line: its end does not come any more.
    pub fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            self.cut(&mut line);
        }
        self.is_skipping = false;
    }

    fn extend(&mut self, bytes: &[u8], line: &mut impl FnMut(&[u8])) {
        if self.is_skipping {
            return;
        }
        let room = LINE_BYTES_MAX.saturating_sub(self.begun.len());
        let (fits, rest) = bytes.split_at(bytes.len().min(room));
        self.begun.extend_from_slice(fits);
        if !rest.is_empty() {
            self.cut(line);
            self.is_skipping = true;
        }
    }

    fn end(&mut self, line: &mut impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            line(&self.begun);
            self.clear();
        }
        self.is_skipping = false;
    }

    /// Hands on the line with the mark, without half a character before it.
    fn cut(&mut self, line: &mut impl FnMut(&[u8])) {
        if let Err(error) = std::str::from_utf8(&self.begun)
            && error.error_len().is_none()
        {
            self.begun.truncate(error.valid_up_to());
        }
        self.begun.extend_from_slice(CUT);
        line(&self.begun);
        self.clear();
    }

    fn clear(&mut self) {
        self.begun.clear();
        self.begun.shrink_to(KEPT_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that come out when the bytes come in pieces of this size.
    fn lines(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            lines.push(piece, |line| found.push(line.to_vec()));
        }
        lines.finish(|line| found.push(line.to_vec()));
        found
    }

    #[test]
    fn lines_come_out_whole_whatever_the_pieces() {
        for piece in [1, 2, 3, 100] {
            assert_eq!(lines(b"one\n\ntwo\nthree", piece), [&b"one"[..], b"two", b"three [cut]"], "{piece}");
        }
    }

    #[test]
    fn a_long_line_is_cut_and_marked_and_the_next_one_is_whole() {
        let whole = vec![b'x'; LINE_BYTES_MAX];
        let long = [&whole[..], b"more\nnext\n"].concat();
        for piece in [1000, LINE_BYTES_MAX, LINE_BYTES_MAX * 2] {
            let found = lines(&long, piece);
            assert_eq!(found, [[&whole[..], CUT].concat(), b"next".to_vec()], "{piece}");
        }
        assert_eq!(lines(&[&whole[..], b"\n"].concat(), 4096), [whole]);
    }

    #[test]
    fn no_character_is_cut_in_half() {
        let long = format!("{}é\n", "x".repeat(LINE_BYTES_MAX - 1));
        let found = lines(long.as_bytes(), 4096);
        assert_eq!(found, [format!("{} [cut]", "x".repeat(LINE_BYTES_MAX - 1)).into_bytes()]);
    }

    #[test]
    fn pieces_change_nothing() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let whole = lines(bytes, bytes.len().max(1));
            assert_eq!(lines(bytes, 3), whole);
            assert!(whole.iter().all(|line| line.len() <= LINE_BYTES_MAX + CUT.len()));
        });
    }
}
