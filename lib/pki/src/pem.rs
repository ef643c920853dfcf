//! PEM blocks as Go programs write them: 64 columns, line feeds.

use crate::{PEM_BYTES_MAX, PkiError};

/// Writes one block.
pub fn encode(label: &str, der: &[u8]) -> String {
    let config = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF).set_line_wrap(64);
    ::pem::encode_config(&::pem::Pem::new(label, der), config)
}

/// Reads all blocks of a text, in order.
pub fn blocks(what: &'static str, text: &[u8]) -> Result<Vec<(String, Vec<u8>)>, PkiError> {
    if text.len() > PEM_BYTES_MAX {
        return Err(PkiError::Pem { what, reason: format!("larger than {PEM_BYTES_MAX} bytes") });
    }
    let parsed =
        ::pem::parse_many(text).map_err(|error| PkiError::Pem { what, reason: error.to_string() })?;
    Ok(parsed.into_iter().map(|block| (block.tag().to_owned(), block.into_contents())).collect())
}

/// Reads the first block whose label ends like this, telling what else was there if none does.
pub fn first(what: &'static str, text: &[u8], suffix: &str) -> Result<(String, Vec<u8>), PkiError> {
    let blocks = blocks(what, text)?;
    let labels: Vec<String> = blocks.iter().map(|(label, _)| label.clone()).collect();
    blocks.into_iter().find(|(label, _)| label.ends_with(suffix)).ok_or_else(|| PkiError::Pem {
        what,
        reason: match labels.as_slice() {
            [] => "no PEM block found".to_owned(),
            found => format!("found only {}", found.join(", ")),
        },
    })
}
