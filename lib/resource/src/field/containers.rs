//! Optional values, lists, maps and boxes as fields.

use std::collections::BTreeMap;

use super::{Entries, Field, FieldError, FieldType, Items, Kind, Node};
use crate::record::Record;

impl<T: FieldType> Field for Option<T> {
    fn kind(&self) -> Kind {
        T::KIND
    }
    fn read(&self) -> Node<'_> {
        self.as_ref().map_or(Node::Null, Field::read)
    }
    fn clear(&mut self) {
        *self = None;
    }
    fn is_zero(&self) -> bool {
        self.is_none()
    }
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        if matches!(value, Node::Null) {
            *self = None;
            return Ok(());
        }
        self.get_or_insert_with(T::blank).write(value)
    }
    fn record_mut(&mut self) -> Option<&mut dyn Record> {
        self.get_or_insert_with(T::blank).record_mut()
    }
    fn push(&mut self) -> Option<&mut dyn Field> {
        self.get_or_insert_with(T::blank).push()
    }
    fn entry(&mut self, key: &str) -> Option<&mut dyn Field> {
        self.get_or_insert_with(T::blank).entry(key)
    }
}

impl<T: FieldType> FieldType for Option<T> {
    const KIND: Kind = T::KIND;
    fn blank() -> Self {
        None
    }
}

impl<T: FieldType> Items for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }
    fn item(&self, index: usize) -> &dyn Field {
        &self[index]
    }
}

impl<T: FieldType> Field for Vec<T> {
    fn kind(&self) -> Kind {
        <Self as FieldType>::KIND
    }
    fn read(&self) -> Node<'_> {
        Node::List(self)
    }
    fn clear(&mut self) {
        Vec::clear(self);
    }
    fn push(&mut self) -> Option<&mut dyn Field> {
        Vec::push(self, T::blank());
        self.last_mut().map(|item| item as &mut dyn Field)
    }
}

impl<T: FieldType> FieldType for Vec<T> {
    const KIND: Kind = Kind::List(&T::KIND);
    fn blank() -> Self {
        Self::new()
    }
}

impl<T: FieldType> Entries for BTreeMap<String, T> {
    fn is_empty(&self) -> bool {
        BTreeMap::is_empty(self)
    }
    fn each(&self, visit: &mut dyn FnMut(&str, &dyn Field)) {
        for (key, value) in self {
            visit(key, value);
        }
    }
}

impl<T: FieldType> Field for BTreeMap<String, T> {
    fn kind(&self) -> Kind {
        <Self as FieldType>::KIND
    }
    fn read(&self) -> Node<'_> {
        Node::Map(self)
    }
    fn clear(&mut self) {
        BTreeMap::clear(self);
    }
    fn entry(&mut self, key: &str) -> Option<&mut dyn Field> {
        Some(BTreeMap::entry(self, key.to_owned()).or_insert_with(T::blank))
    }
}

impl<T: FieldType> FieldType for BTreeMap<String, T> {
    const KIND: Kind = Kind::Map(&T::KIND);
    fn blank() -> Self {
        Self::new()
    }
}

impl<T: FieldType> Field for Box<T> {
    fn kind(&self) -> Kind {
        T::KIND
    }
    fn read(&self) -> Node<'_> {
        (**self).read()
    }
    fn clear(&mut self) {
        (**self).clear();
    }
    fn is_zero(&self) -> bool {
        (**self).is_zero()
    }
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        (**self).write(value)
    }
    fn record_mut(&mut self) -> Option<&mut dyn Record> {
        (**self).record_mut()
    }
    fn push(&mut self) -> Option<&mut dyn Field> {
        (**self).push()
    }
    fn entry(&mut self, key: &str) -> Option<&mut dyn Field> {
        (**self).entry(key)
    }
}

impl<T: FieldType> FieldType for Box<T> {
    const KIND: Kind = T::KIND;
    fn blank() -> Self {
        Self::new(T::blank())
    }
}
