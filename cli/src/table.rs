//! Rows of typed cells: text for people, values for programs.

use serde_json::{Map, Value};

use crate::command::Report;

/// Spaces between columns.
const GAP: usize = 3;

/// One value, as people and as programs see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    text: String,
    value: Value,
}

impl Cell {
    /// A value whose text is not just its value.
    pub fn new(text: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { text: text.into(), value: value.into() }
    }
}

macro_rules! plain {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Cell {
            fn from(value: $kind) -> Self {
                Self { text: value.to_string(), value: value.into() }
            }
        }
    )*};
}

plain!(String, &str, u32, u64, i32, i64, bool);

impl From<&String> for Cell {
    fn from(value: &String) -> Self {
        value.as_str().into()
    }
}

/// A column: heading, name of the value, how to get it.
pub struct Column<T: ?Sized> {
    heading: &'static str,
    key: &'static str,
    cell: fn(&T) -> Cell,
}

impl<T: ?Sized> Column<T> {
    /// A column; `key` names the value for programs.
    pub const fn new(heading: &'static str, key: &'static str, cell: fn(&T) -> Cell) -> Self {
        Self { heading, key, cell }
    }

    /// What programs call its values.
    pub const fn key(&self) -> &'static str {
        self.key
    }
}

/// What can be a row of a table.
pub trait Row: Sized + 'static {
    /// The columns after the machine's name.
    const COLUMNS: &'static [Column<Self>];

    /// The row as an object.
    fn data(&self) -> Map<String, Value> {
        Self::COLUMNS.iter().map(|column| (column.key.to_owned(), (column.cell)(self).value)).collect()
    }
}

/// The table of rows, each of a machine.
pub fn render<'a, T: Row>(rows: impl Iterator<Item = (&'a str, &'a T)>) -> String {
    render_columns(&T::COLUMNS.iter().collect::<Vec<_>>(), rows)
}

/// The table of some columns of rows, each of a machine.
pub fn render_columns<'a, T: 'a>(
    columns: &[&Column<T>],
    rows: impl Iterator<Item = (&'a str, &'a T)>,
) -> String {
    let headings = std::iter::once("NODE").chain(columns.iter().map(|column| column.heading));
    let mut lines: Vec<Vec<String>> = vec![headings.map(str::to_owned).collect()];
    lines.extend(rows.map(|(node, row)| {
        let texts = columns.iter().map(|column| (column.cell)(row).text);
        std::iter::once(node.to_owned()).chain(texts).collect()
    }));
    align(&lines)
}

fn texts<T: Row>(row: &T) -> impl Iterator<Item = String> {
    T::COLUMNS.iter().map(|column| (column.cell)(row).text)
}

/// Rows that belong to no machine.
#[derive(Debug)]
pub struct Rows<T>(pub Vec<T>);

impl<T: Row> Report for Rows<T> {
    fn text(&self) -> String {
        let headings = T::COLUMNS.iter().map(|column| column.heading.to_owned()).collect();
        let lines: Vec<Vec<String>> =
            std::iter::once(headings).chain(self.0.iter().map(|row| texts(row).collect())).collect();
        align(&lines)
    }

    fn data(&self) -> Value {
        self.0.iter().map(|row| Value::Object(row.data())).collect()
    }
}

/// Lines of cells in aligned columns.
pub fn align(lines: &[Vec<String>]) -> String {
    let mut widths = Widths::default();
    widths.grow(lines);
    lines.iter().map(|line| widths.line(line)).collect()
}

/// Widths of columns, which only grow: for tables that are printed while they are made.
#[derive(Default)]
pub struct Widths(Vec<usize>);

impl Widths {
    /// Makes room for lines to come.
    pub fn grow(&mut self, lines: &[Vec<String>]) {
        for line in lines {
            self.0.resize(self.0.len().max(line.len()), 0);
            for (width, cell) in self.0.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
    }

    /// One line, with its newline and without trailing spaces.
    pub fn line(&self, line: &[String]) -> String {
        let mut text = String::new();
        for (index, cell) in line.iter().enumerate() {
            let cell = cell.replace(['\n', '\t'], " ");
            let width = self.0.get(index).copied().unwrap_or_default();
            text += &format!("{cell:width$}{:GAP$}", "");
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair(&'static str, u64);

    impl Row for Pair {
        const COLUMNS: &'static [Column<Self>] = &[
            Column::new("NAME", "name", |pair| pair.0.into()),
            Column::new("SIZE(KB)", "bytes", |pair| Cell::new((pair.1 / 1000).to_string(), pair.1)),
        ];
    }

    #[test]
    fn columns_align_and_values_keep_their_precision() {
        let rows = [Pair("a", 1500), Pair("longer", 20_000)];
        let text = render(rows.iter().map(|row| ("10.5.0.2", row)));
        assert_eq!(text, "NODE       NAME     SIZE(KB)\n10.5.0.2   a        1\n10.5.0.2   longer   20\n");
        assert_eq!(Value::Object(rows[0].data()), serde_json::json!({"name": "a", "bytes": 1500}));
        let alone = Rows(rows.into());
        assert_eq!(alone.text(), "NAME     SIZE(KB)\na        1\nlonger   20\n");
        assert_eq!(alone.data()[1]["bytes"], 20_000);
    }

    #[test]
    fn a_cell_stays_on_its_line() {
        assert_eq!(align(&[vec!["a\nb".into(), String::new()]]), "a b\n");
    }
}
