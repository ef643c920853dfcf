//! The kernel's arguments.

use anyhow::Context;
use base64::Engine;

use super::CONFIG_BYTES_MAX;

/// The line of arguments.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a>(pub &'a str);

impl<'a> Arguments<'a> {
    /// Every value of an argument, in order.
    fn all(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.split_whitespace().filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// The last value of an argument, which counts.
    pub fn last(self, name: &str) -> Option<&'a str> {
        self.all(name).last().filter(|value| !value.is_empty())
    }

    /// An argument that holds base64 of zstd-compressed data, in one or several pieces.
    pub fn packed(self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let pieces: String = self.all(name).collect();
        if pieces.is_empty() {
            return Ok(None);
        }
        let packed = base64::engine::general_purpose::STANDARD.decode(&pieces);
        let packed = packed.with_context(|| format!("{name} is not base64"))?;
        let bytes = zstd::bulk::decompress(&packed, CONFIG_BYTES_MAX);
        bytes
            .map(Some)
            .with_context(|| format!("{name} is not zstd data of at most {CONFIG_BYTES_MAX} bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inline_configuration_may_come_in_pieces() {
        let packed = zstd::bulk::compress(b"version: v1alpha1\n", 3).expect("compress");
        let text = base64::engine::general_purpose::STANDARD.encode(packed);
        let (one, two) = text.split_at(8);
        let cmdline = format!("quiet talos.config.inline={one} x talos.config.inline={two}");
        let found = Arguments(&cmdline).packed("talos.config.inline").expect("valid");
        assert_eq!(found.as_deref(), Some(b"version: v1alpha1\n".as_slice()));
        assert!(Arguments("quiet").packed("talos.config.inline").expect("valid").is_none());
        assert!(Arguments("talos.config.inline=%%%").packed("talos.config.inline").is_err());
    }

    #[test]
    fn the_last_value_counts_and_longer_names_are_others() {
        let arguments =
            Arguments("talos.config=a talos.config.inline=x talos.config=http://b/?c=d talos.platform=");
        assert_eq!(arguments.last("talos.config"), Some("http://b/?c=d"));
        assert_eq!(arguments.last("talos.platform"), None);
    }
}
