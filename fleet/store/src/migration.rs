//! How a store of an older program becomes one of this program: named steps, each from one format to the next.
//!
//! ```text
//! format of the store ─▶ steps that are due, in order ─▶ each row through each step ─▶ the newest format
//! ```
//!
//! A step is a pure function of one row, and leaves a row alone that it has brought forward already: one that was
//! interrupted is done again as a whole. A store of a newer program is refused.

use crate::rows::{Rows, clear_pointer};
use crate::sealer::SealError;

/// A new row in place of one; nothing when it stays as it is.
type Change = Result<Option<Row>, SealError>;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it is.
    pub place: Vec<u8>,
    /// What is there.
    pub value: Vec<u8>,
}

impl Row {
    fn parts(&self) -> (&[u8], &[u8]) {
        (&self.place, &self.value)
    }
}

/// What brings a store from the format before it to its own.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The format that it makes.
    pub to: u32,
    /// What it does, for people.
    pub name: &'static str,
    /// What it does with a row, given its place and its value.
    pub row: fn(&Rows, &[u8], &[u8]) -> Change,
}

/// The first format that there was.
const FIRST: u32 = 1;
/// The format that this program writes.
pub const NEWEST: u32 = 2;
/// Every step, in order.
const STEPS: &[Step] =
    &[Step { to: 2, name: "ids are sealed, and every value names the key that sealed it", row: sealed }];

/// A row whose id is sealed and whose value names its key.
fn sealed(rows: &Rows, place: &[u8], value: &[u8]) -> Change {
    if rows.pointer(place).is_some() {
        return Ok(None);
    }
    let pointer = clear_pointer(place).ok_or(SealError::Refused)?;
    let content = rows.sealer().open(place, value)?;
    let place = rows.place(&pointer).map_err(|_| SealError::Refused)?;
    let value = rows.sealer().seal(&place, &content)?;
    Ok(Some(Row { place, value }))
}

/// The steps that a store of a format needs; nothing when no program up to this one wrote it.
pub fn due(format: u32) -> Option<&'static [Step]> {
    let known = (FIRST..=NEWEST).contains(&format);
    let done = STEPS.iter().take_while(|step| step.to <= format).count();
    STEPS.get(done..).filter(|_| known)
}

/// A row after all these steps; nothing when none of them changes it.
///
/// # Errors
/// When its value cannot be read.
pub fn bring_forward(steps: &[Step], rows: &Rows, place: &[u8], value: &[u8]) -> Change {
    let mut newest: Option<Row> = None;
    for step in steps {
        let (place, value) = newest.as_ref().map_or((place, value), Row::parts);
        newest = (step.row)(rows, place, value)?.or(newest);
    }
    Ok(newest)
}

/// Names of steps, for the log.
pub fn names(steps: &[Step]) -> String {
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    names.join("; ")
}

/// A format as it stands in a store, and from which one a migration that was begun started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The format, or the one that the store is being brought to.
    pub number: u32,
    /// The format that rows may still have.
    pub from: Option<u32>,
}

impl Format {
    /// What stands for the newest one.
    pub const fn newest() -> Self {
        Self { number: NEWEST, from: None }
    }

    /// Reads `2`, or `2 from 1` while a store is brought from 1 to 2.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        match text.split_once(" from ") {
            Some((number, from)) => {
                Some(Self { number: number.parse().ok()?, from: Some(from.parse().ok()?) })
            }
            None => Some(Self { number: text.parse().ok()?, from: None }),
        }
    }

    /// The text that is read.
    pub fn text(self) -> String {
        match self.from {
            Some(from) => format!("{} from {from}", self.number),
            None => self.number.to_string(),
        }
    }

    /// The steps that are due; nothing for a store that this program does not know.
    pub fn due(self) -> Option<&'static [Step]> {
        due(self.number).and_then(|_| due(self.from.unwrap_or(self.number)))
    }
}

#[cfg(test)]
mod tests {
    use corten_base::{Rng, Secret};
    use corten_resource::conformance;

    use super::*;

    #[test]
    fn steps_lead_from_each_format_to_the_newest_one_without_a_gap_and_have_names() {
        let to: Vec<u32> = STEPS.iter().map(|step| step.to).collect();
        assert_eq!(to, (FIRST + 1..=NEWEST).collect::<Vec<_>>());
        assert!(STEPS.iter().all(|step| !step.name.is_empty()));
        assert_eq!(due(NEWEST).map(<[_]>::len), Some(0));
        assert_eq!(due(FIRST).map(<[_]>::len), Some(STEPS.len()));
    }

    #[test]
    fn a_store_of_a_newer_program_has_no_way_here() {
        assert!(due(NEWEST + 1).is_none() && due(0).is_none());
        for newer in ["3", "3 from 1", "2 from 3"] {
            let format = Format::read(newer.as_bytes()).expect("a format");
            assert!(format.due().is_none(), "{newer}");
        }
        assert_eq!(Format::read(b"two"), None);
        assert_eq!(Format::read(b""), None);
    }

    #[test]
    fn a_migration_that_was_interrupted_is_done_from_where_it_began() {
        let begun = Format { number: NEWEST, from: Some(FIRST) };
        assert_eq!(Format::read(begun.text().as_bytes()), Some(begun));
        assert_eq!(begun.due().map(<[_]>::len), Some(STEPS.len()));
        assert_eq!(Format::newest().due().map(<[_]>::len), Some(0));
    }

    #[test]
    fn every_step_leaves_a_row_alone_that_it_has_brought_forward() {
        let master = Secret::new([1; 32]);
        let rows = Rows::new(&master, Rng::seeded(1), conformance::registry()).expect("a key");
        let (steps, here) = (due(FIRST).expect("steps"), b"default\0Things\0here".as_slice());
        let old = rows.sealer().seal_without_id(here, b"content");
        let new = bring_forward(steps, &rows, here, &old).expect("read").expect("changed");
        assert_eq!(rows.pointer(&new.place).expect("its id").id, "here");
        assert_eq!(rows.sealer().open(&new.place, &new.value).expect("opened"), b"content");
        assert_eq!(bring_forward(steps, &rows, &new.place, &new.value).expect("read"), None);
        assert!(bring_forward(steps, &rows, b"default\0Things\0there", &old).is_err());
    }

    #[test]
    fn fuzz_a_format_is_read_from_any_bytes() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = Format::read(bytes).map(Format::due);
        });
    }
}
