//! What etcd is known to have, and what follows from that for changes and for what was missed. Everything here is pure.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use corten_resource::{AnyResource, Change, StateError};

/// What is known of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Revision that made it.
    pub created: i64,
    /// Revision that changed it last.
    pub modified: i64,
    /// Version of the resource; 0 when it could not be read.
    pub version: u64,
    /// When the resource was changed last, by the clock of whoever did.
    pub updated: SystemTime,
}

/// Rows by their places.
pub type Known = BTreeMap<Box<[u8]>, Entry>;

/// How a row must be for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Not there.
    Absent,
    /// Changed last at this revision.
    At(i64),
}

impl Base {
    /// How a row is that was changed last at this revision, if it is there.
    pub fn of(modified: Option<i64>) -> Self {
        modified.map_or(Self::Absent, Self::At)
    }
}

impl Entry {
    /// What is known of the row of a resource; nothing of a resource when it could not be read.
    pub fn new(created: i64, modified: i64, resource: Option<&AnyResource>) -> Self {
        let metadata = resource.map(AnyResource::metadata);
        Self {
            created,
            modified,
            version: metadata.map_or(0, |metadata| metadata.version),
            updated: metadata.map_or(UNIX_EPOCH, |metadata| metadata.updated),
        }
    }

    /// Whether a resource is the one of this row. Somebody else may have made another one with the same version.
    fn is(&self, resource: &AnyResource) -> bool {
        let metadata = resource.metadata();
        (metadata.version, metadata.updated) == (self.version, self.updated)
    }
}

/// What a change is based on.
///
/// # Errors
/// When the change was decided on something that is not there any more, as the store would have refused it.
pub fn base(known: &Known, place: &[u8], change: &Change) -> Result<Base, StateError> {
    let entry = known.get(place);
    match (change, entry) {
        (Change::Created(_), None) => Ok(Base::Absent),
        (Change::Created(new), Some(_)) => Err(StateError::AlreadyExists(new.pointer())),
        (Change::Updated { old, .. } | Change::Destroyed(old), Some(entry)) if entry.is(old) => {
            Ok(Base::At(entry.modified))
        }
        (Change::Updated { old, .. } | Change::Destroyed(old), Some(entry)) => Err(StateError::Version {
            pointer: old.pointer(),
            expected: old.metadata().version,
            actual: entry.version,
        }),
        (Change::Updated { old, .. } | Change::Destroyed(old), None) => {
            Err(StateError::NotFound(old.pointer()))
        }
        (Change::Bootstrapped | Change::Errored(_) | Change::Noop, _) => {
            Err(StateError::Invalid("it is no change of a resource".to_owned()))
        }
    }
}

/// A row that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place.
    pub place: Vec<u8>,
    /// Revision that made it.
    pub created: i64,
    /// Revision that changed it last.
    pub modified: i64,
    /// Its value, unless it is known.
    pub value: Vec<u8>,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The row at this place is gone, or was gone for a while.
    Gone(Vec<u8>),
    /// The row with this index was written.
    Put(usize),
}

/// What has happened between what is known and what was found, which is sorted by place.
pub fn difference(known: &Known, found: &[Found]) -> Vec<Step> {
    let is_found = |place: &[u8]| found.binary_search_by(|row| row.place.as_slice().cmp(place)).is_ok();
    let gone = known.keys().filter(|place| !is_found(place));
    let mut steps: Vec<Step> = gone.map(|place| Step::Gone(place.to_vec())).collect();
    for (index, row) in found.iter().enumerate() {
        match known.get(row.place.as_slice()) {
            Some(entry) if entry.modified == row.modified => continue,
            Some(entry) if entry.created != row.created => steps.push(Step::Gone(row.place.clone())),
            _ => {}
        }
        steps.push(Step::Put(index));
    }
    steps
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_resource::ErrorKind;
    use corten_resource::conformance::ConformanceThing;

    use super::*;

    fn thing(version: u64, updated: u64) -> AnyResource {
        let thing = AnyResource::new("conformance", "a", ConformanceThing::default());
        thing.edit(|metadata| {
            metadata.version = version;
            metadata.updated = UNIX_EPOCH + Duration::from_secs(updated);
        })
    }

    fn known(rows: &[(&str, i64, i64)]) -> Known {
        let entry = |created, modified| Entry::new(created, modified, None);
        let rows = rows.iter().map(|(place, created, modified)| (*place, entry(*created, *modified)));
        rows.map(|(place, entry)| (place.as_bytes().into(), entry)).collect()
    }

    #[test]
    fn a_change_counts_on_what_it_was_decided_on_and_on_nothing_else() {
        let at = b"a".as_slice();
        let there: Known = [(at.into(), Entry::new(3, 5, Some(&thing(2, 7))))].into_iter().collect();
        let (old, new) = (thing(2, 7), thing(3, 8));
        let update = Change::Updated { old: old.clone(), new: new.clone() };
        assert_eq!(base(&there, at, &update), Ok(Base::At(5)));
        assert_eq!(base(&there, at, &Change::Destroyed(old)), Ok(Base::At(5)));
        assert_eq!(base(&Known::new(), at, &Change::Created(thing(1, 1))), Ok(Base::Absent));
        let kind = |change: &Change, known: &Known| base(known, at, change).expect_err("refused").kind();
        assert_eq!(kind(&Change::Created(thing(1, 1)), &there), ErrorKind::AlreadyExists);
        assert_eq!(kind(&update, &Known::new()), ErrorKind::NotFound);
        for other in [thing(1, 7), thing(2, 6)] {
            let stale = Change::Updated { old: other.clone(), new: new.clone() };
            assert_eq!(kind(&stale, &there), ErrorKind::FailedPrecondition, "{other:?}");
        }
    }

    #[test]
    fn what_was_missed_is_what_is_gone_what_is_new_and_what_was_made_again() {
        let known = known(&[("changed", 1, 2), ("gone", 1, 1), ("made again", 1, 3), ("same", 1, 4)]);
        let row = |place: &str, created, modified| Found {
            place: place.as_bytes().to_vec(),
            created,
            modified,
            value: Vec::new(),
        };
        let found = [row("changed", 1, 9), row("made again", 8, 8), row("new", 7, 7), row("same", 1, 4)];
        let gone = |place: &str| Step::Gone(place.as_bytes().to_vec());
        let expected = [gone("gone"), Step::Put(0), gone("made again"), Step::Put(1), Step::Put(2)];
        assert_eq!(difference(&known, &found), expected);
        assert!(difference(&Known::new(), &[]).is_empty());
    }
}
