//! Resources of one type of one machine, few and small.

/// Resources of a type that are kept of one machine.
pub const ROWS_MAX: usize = 256;

/// A resource by its id.
#[derive(Clone, Debug, PartialEq)]
struct Row<T> {
    id: Box<str>,
    size: usize,
    value: T,
}

/// Resources of one type, sorted by id.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<T>(Vec<Row<T>>);

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Rows<T> {
    /// Whether anything changed. A row more than there may be is left out.
    pub fn put(&mut self, id: &str, value: T, size: usize) -> bool {
        match self.0.binary_search_by(|row| row.id.as_ref().cmp(id)) {
            Ok(index) => self.0.get_mut(index).is_some_and(|row| {
                row.size = size;
                set(&mut row.value, value)
            }),
            Err(index) if self.0.len() < ROWS_MAX => {
                self.0.insert(index, Row { id: id.into(), size, value });
                true
            }
            Err(_) => false,
        }
    }

    /// Whether it was there.
    pub fn remove(&mut self, id: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|row| row.id.as_ref() != id);
        self.0.len() != before
    }

    /// As `put`, or `remove` where there is nothing to keep.
    pub fn update(&mut self, id: &str, value: Option<T>, size: usize) -> bool {
        match value {
            Some(value) => self.put(id, value, size),
            None => self.remove(id),
        }
    }

    /// Bytes that the resources have on the wire.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|row| row.size).sum()
    }

    /// The resources with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|row| (row.id.as_ref(), &row.value))
    }

    /// The resources.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|row| &row.value)
    }
}

/// Puts a value where another one is. True when they differ.
pub fn set<T: PartialEq>(slot: &mut T, value: T) -> bool {
    let is_new = *slot != value;
    if is_new {
        *slot = value;
    }
    is_new
}
