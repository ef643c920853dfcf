//! Tables of text.

/// Rows below their headings, each column as wide as its widest cell.
#[must_use]
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Vec<u8> {
    let letters = |text: &str| text.chars().count();
    let mut widths = headings.map(letters);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = letters(cell).max(*width);
        }
    }
    let mut text = String::new();
    for row in std::iter::once(headings.map(str::to_owned)).chain(rows.iter().cloned()) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("   ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |id: &str, state: &str| [id.to_owned(), state.to_owned()];
        let text = table(["ID", "STATE"], &[row("kubelet", "Running"), row("etcd", "")]);
        assert_eq!(String::from_utf8_lossy(&text), "ID        STATE\nkubelet   Running\netcd\n");
    }
}
