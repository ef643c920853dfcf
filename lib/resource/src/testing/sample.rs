//! Samples: resources of any type with every field set, each to a value of its own, made from the table of the type.
//!
//! A blank resource says next to nothing on the wire; on a sample a swapped number, a wrong kind or a forgotten field
//! shows.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, UNIX_EPOCH};

use ipnet::IpNet;

use crate::field::{Field, Kind, Node};
use crate::record::{FieldDef, Form, Record};
use crate::resource::{AnyResource, Resource, Spec};

/// Items of each list and entries of each map.
const ITEMS: usize = 2;
/// Deepest nesting of records; a type that nests deeper has no end.
const DEPTH_MAX: usize = 16;
/// Numbers that enumerations use: small ones, and the EtherTypes of VLANs.
const NUMBERS: [RangeInclusive<i64>; 3] = [0..=255, 33_024..=33_024, 34_984..=34_984];
/// An enumeration with more numbers is a set of flags, which takes any.
const VARIANTS_MAX: usize = 128;

/// A resource in which every field is set, as far as there are enough values no two alike.
///
/// # Panics
/// When the type nests without end.
#[must_use]
pub fn sample<S: Spec>(id: &str) -> AnyResource {
    let mut spec = S::default();
    Filler::default().record(&mut spec, 0);
    Resource::new(id, spec).into()
}

/// Gives each value a number of its own.
#[derive(Default)]
struct Filler {
    count: u8,
}

impl Filler {
    fn next(&mut self) -> u8 {
        self.count = self.count.checked_add(1).unwrap_or(1);
        self.count
    }

    fn record(&mut self, record: &mut dyn Record, depth: usize) {
        assert!(depth < DEPTH_MAX, "records are nested without end");
        for (index, def) in record.fields().iter().enumerate() {
            if let Some(field) = record.field_mut(index) {
                self.field(field, def, depth);
            }
        }
    }

    fn field(&mut self, field: &mut dyn Field, def: &FieldDef, depth: usize) {
        match field.kind() {
            Kind::Record => {
                if let Some(record) = field.record_mut() {
                    self.record(record, depth + 1);
                }
            }
            Kind::List(_) => {
                for _ in 0..ITEMS {
                    if let Some(item) = field.push() {
                        self.field(item, def, depth);
                    }
                }
            }
            Kind::Map(_) => {
                for _ in 0..ITEMS {
                    let number = self.next();
                    let is_number = def.form == Form::NumberKeys;
                    let key = if is_number { number.to_string() } else { format!("key-{number}") };
                    if let Some(value) = field.entry(&key) {
                        self.field(value, def, depth);
                    }
                }
            }
            Kind::Enumeration => {
                let numbers: Vec<i64> = variants(field).into_iter().map(|(number, _)| number).collect();
                field.clear();
                let others: Vec<i64> =
                    numbers.into_iter().filter(|other| !is_number(field, *other)).collect();
                if let Some(chosen) = others.get(usize::from(self.next()) % others.len().max(1)) {
                    write(field, def, &Node::Int(*chosen));
                }
            }
            kind => write(field, def, &scalar(kind, def.form, self.next())),
        }
    }
}

fn write(field: &mut dyn Field, def: &FieldDef, value: &Node<'_>) {
    field.write(value).unwrap_or_else(|error| panic!("{}: {error}", def.key));
}

fn is_number(field: &dyn Field, number: i64) -> bool {
    matches!(field.read(), Node::Enumeration(read, _) if read == number)
}

fn scalar(kind: Kind, form: Form, number: u8) -> Node<'static> {
    let address = match number % 2 {
        0 => IpAddr::from([192, 0, 2, number]),
        _ => Ipv6Addr::from(u128::from(number)).into(),
    };
    match kind {
        Kind::Bool => Node::Bool(true),
        Kind::Int => Node::Int(number.into()),
        Kind::Uint => Node::Uint(number.into()),
        Kind::Float => Node::Float(f64::from(number) + 0.5),
        Kind::Text if form == Form::Url => Node::Text(format!("https://host-{number}.test/").into()),
        Kind::Text if form == Form::Expression => Node::Text(format!("name_{number} == 1").into()),
        Kind::Bytes => Node::Bytes(format!("bytes-{number}").into_bytes().into()),
        Kind::Hardware => Node::Bytes(vec![2, 0, 0, 0, 0, number].into()),
        Kind::Address => Node::Address(address),
        Kind::Prefix => Node::Prefix(IpNet::new_assert(address, 24)),
        Kind::Endpoint => Node::Endpoint(SocketAddr::new(address, number.into())),
        Kind::Duration => Node::Duration(i64::from(number) * 1_000_000_000),
        Kind::Time => Node::Time(UNIX_EPOCH + Duration::from_secs(number.into())),
        Kind::Object => {
            let object = [(format!("key-{number}"), number.into())].into_iter().collect();
            Node::Object(Cow::Owned(object))
        }
        _ => Node::Text(format!("text-{number}").into()),
    }
}

/// One field of a record as [`walk`] shows it.
#[derive(Debug)]
pub struct FieldView<'a> {
    /// Keys from the specification to the field, joined by dots.
    pub path: &'a str,
    /// Its row in the table.
    pub def: &'static FieldDef,
    /// What it holds.
    pub kind: Kind,
    /// Numbers and texts, when it is an enumeration or holds some; a set of flags has none.
    pub variants: Vec<(i64, String)>,
}

/// Shows every field of a specification and of the records in it, those of lists and maps once.
pub fn walk<S: Spec>(mut visit: impl FnMut(&FieldView<'_>)) {
    let mut spec = S::default();
    visit_record(&mut spec, "", &mut visit);
}

fn visit_record(record: &mut dyn Record, path: &str, visit: &mut dyn FnMut(&FieldView<'_>)) {
    for (index, def) in record.fields().iter().enumerate() {
        let Some(field) = record.field_mut(index) else { continue };
        let path = if path.is_empty() { def.key.to_owned() } else { format!("{path}.{}", def.key) };
        let kind = field.kind();
        let inside = content(field);
        let mut variants = variants(inside);
        if variants.len() > VARIANTS_MAX {
            variants.clear();
        }
        visit(&FieldView { path: &path, def, kind, variants });
        if let Some(record) = inside.record_mut() {
            visit_record(record, &path, visit);
        }
    }
}

/// What lists and maps hold, whatever else for itself.
fn content(field: &mut dyn Field) -> &mut dyn Field {
    match field.kind() {
        Kind::List(_) => content(field.push().expect("a list takes items")),
        Kind::Map(_) => content(field.entry("key").expect("a map takes entries")),
        _ => field,
    }
}

/// Numbers and texts of an enumeration.
fn variants(field: &mut dyn Field) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    if field.kind() != Kind::Enumeration {
        return all;
    }
    for number in NUMBERS.into_iter().flatten() {
        if field.write(&Node::Int(number)).is_ok()
            && let Node::Enumeration(read, text) = field.read()
            && read == number
        {
            all.push((number, text.into_owned()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::ControllerStatus;
    use crate::meta::ResourceDefinitionSpec;

    fn assert_filled<S: Spec>() {
        let resource = sample::<S>("id");
        let spec: &S = resource.spec().expect("of this type");
        for (index, def) in spec.fields().iter().enumerate() {
            assert!(spec.field(index).is_some_and(|field| !field.is_zero()), "{}", def.key);
        }
    }

    #[test]
    fn every_field_of_a_sample_is_set() {
        assert_filled::<ControllerStatus>();
        assert_filled::<ResourceDefinitionSpec>();
    }

    #[test]
    fn a_walk_shows_nested_fields_and_the_texts_of_enumerations() {
        let mut paths = Vec::new();
        walk::<ResourceDefinitionSpec>(|field| paths.push(field.path.to_owned()));
        assert!(paths.iter().any(|path| path == "printColumns.jsonPath"), "{paths:?}");
        let mut texts = Vec::new();
        walk::<ControllerStatus>(|field| texts.extend(field.variants.clone()));
        assert_eq!(texts.len(), 3);
        assert_eq!(texts[1], (1, "waiting".to_owned()));
    }
}
