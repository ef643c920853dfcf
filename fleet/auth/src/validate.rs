//! Limits of metadata that hold for every type.
//!
//! ```text
//! metadata before (none for a create), metadata after ─▶ what is new or changed ─▶ within the limits?
//! ```
//!
//! What was stored before a limit was there stays, and can be written back unchanged.

use corten_resource::Metadata;

use crate::{Labels, shown};

/// Longest id, bytes.
const ID_MAX: usize = 1024;
/// Most labels, and most annotations.
const ENTRIES_MAX: usize = 256;
/// Longest key of a label or an annotation, bytes.
const KEY_MAX: usize = 1024;
/// Longest value of a label or an annotation, bytes.
const VALUE_MAX: usize = 16 * 1024;

/// What labels and annotations are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A label.
    Label,
    /// An annotation.
    Annotation,
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Label => "label",
            Self::Annotation => "annotation",
        })
    }
}

/// Metadata beyond the limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    /// The id is empty or too long.
    #[error("the id {0:?} must have 1 to 1024 bytes")]
    IdLength(String),
    /// The id has a control character.
    #[error("the id {0:?} must not have control characters")]
    IdCharacter(String),
    /// There are too many labels or annotations.
    #[error("there are {count} {entry}s, and may be 256; remove some, or keep the data in the specification")]
    Count {
        /// Of what.
        entry: Entry,
        /// How many there would be.
        count: usize,
    },
    /// A key is too long.
    #[error("the key of {entry} {key:?} is longer than 1024 bytes")]
    Key {
        /// Of what.
        entry: Entry,
        /// The begin of the key.
        key: String,
    },
    /// A value is too long.
    #[error("the value of {entry} {key:?} is longer than 16 KiB; keep such data in the specification")]
    Value {
        /// Of what.
        entry: Entry,
        /// The key.
        key: String,
    },
}

/// Whether metadata may be written over `stored`, or anew.
///
/// # Errors
/// With the first thing that is new or changed and beyond a limit.
pub fn metadata(stored: Option<&Metadata>, new: &Metadata) -> Result<(), InvalidMetadata> {
    let none = Labels::new();
    match stored {
        None => {
            id(&new.id)?;
            entries(Entry::Label, &none, &new.labels)?;
            entries(Entry::Annotation, &none, &new.annotations)
        }
        Some(stored) => {
            entries(Entry::Label, &stored.labels, &new.labels)?;
            entries(Entry::Annotation, &stored.annotations, &new.annotations)
        }
    }
}

fn id(id: &str) -> Result<(), InvalidMetadata> {
    if id.is_empty() || id.len() > ID_MAX {
        Err(InvalidMetadata::IdLength(shown(id)))
    } else if id.chars().any(char::is_control) {
        Err(InvalidMetadata::IdCharacter(shown(id)))
    } else {
        Ok(())
    }
}

fn entries(entry: Entry, stored: &Labels, new: &Labels) -> Result<(), InvalidMetadata> {
    if new.len() > ENTRIES_MAX && new.len() > stored.len() {
        return Err(InvalidMetadata::Count { entry, count: new.len() });
    }
    for (key, value) in new.iter().filter(|(key, value)| stored.get(*key) != Some(*value)) {
        if key.len() > KEY_MAX {
            return Err(InvalidMetadata::Key { entry, key: shown(key) });
        }
        if value.len() > VALUE_MAX {
            return Err(InvalidMetadata::Value { entry, key: shown(key) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> Metadata {
        Metadata::new("default", "Clusters.omni.sidero.dev", id)
    }

    fn labelled(entries: impl IntoIterator<Item = (String, String)>) -> Metadata {
        let mut metadata = of("a");
        metadata.labels.extend(entries);
        metadata
    }

    fn many(count: usize) -> Metadata {
        labelled((0..count).map(|index| (index.to_string(), String::new())))
    }

    #[test]
    fn an_id_has_a_length_and_no_control_characters() {
        assert_eq!(metadata(None, &of(&"é".repeat(512))), Ok(()));
        let long = "a".repeat(1025);
        for id in ["", long.as_str()] {
            assert!(matches!(metadata(None, &of(id)), Err(InvalidMetadata::IdLength(_))), "{id}");
        }
        for id in ["a\n", "\0", "a\u{7f}", "\u{85}"] {
            assert!(matches!(metadata(None, &of(id)), Err(InvalidMetadata::IdCharacter(_))), "{id:?}");
        }
        assert_eq!(metadata(Some(&of("a\n")), &of("a\n")), Ok(()), "it is stored already");
    }

    #[test]
    fn there_may_be_256_labels_and_as_many_annotations() {
        assert_eq!(metadata(None, &many(256)), Ok(()));
        let count = Err(InvalidMetadata::Count { entry: Entry::Label, count: 257 });
        assert_eq!(metadata(None, &many(257)), count);
        assert_eq!(metadata(Some(&many(256)), &many(257)), count);
        assert_eq!(metadata(Some(&many(300)), &many(299)), Ok(()), "it becomes less");
        let mut annotated = of("a");
        annotated.annotations = many(257).labels;
        let error = metadata(None, &annotated).expect_err("refused").to_string();
        assert!(error.starts_with("there are 257 annotations, and may be 256"), "{error}");
    }

    #[test]
    fn keys_and_values_are_bounded_where_they_are_new_or_changed() {
        let entry = |key: usize, value: usize| labelled([("k".repeat(key), "v".repeat(value))]);
        assert_eq!(metadata(None, &entry(1024, 16 * 1024)), Ok(()));
        let long_key = entry(1025, 1);
        assert!(matches!(metadata(None, &long_key), Err(InvalidMetadata::Key { .. })));
        assert_eq!(metadata(Some(&long_key), &long_key), Ok(()));
        assert!(matches!(metadata(Some(&long_key), &entry(1025, 2)), Err(InvalidMetadata::Key { .. })));
        let long_value = entry(1, 16 * 1024 + 1);
        assert!(matches!(metadata(None, &long_value), Err(InvalidMetadata::Value { .. })));
        assert_eq!(metadata(Some(&long_value), &long_value), Ok(()));
        assert_eq!(metadata(Some(&long_value), &entry(1, 1)), Ok(()));
    }

    #[test]
    fn an_error_shows_little_of_a_long_text() {
        let error = metadata(None, &of(&"a".repeat(100_000))).expect_err("refused").to_string();
        assert!(error.len() < 200, "{error}");
    }
}
