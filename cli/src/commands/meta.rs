//! `meta`: small values that outlive configuration and reinstallation.

use clap::{Args, Subcommand};
use corten_api::machine::{MetaDeleteRequest, MetaWriteRequest};

use crate::command::Command;
use crate::connect::{Maintenance, Node};
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;

/// Write and delete META values, which outlive configuration and reinstallation.
#[derive(Args, Debug)]
pub struct Meta {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Write a value.
    Write {
        /// Number of the key: 10 or 0x0a.
        #[arg(value_parser = parse_key)]
        key: u8,
        /// The value.
        value: String,
        #[command(flatten)]
        maintenance: Maintenance,
    },
    /// Delete a value.
    Delete {
        /// Number of the key: 10 or 0x0a.
        #[arg(value_parser = parse_key)]
        key: u8,
        #[command(flatten)]
        maintenance: Maintenance,
    },
}

fn parse_key(text: &str) -> Result<u8, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "it is a number from 0 to 255, or from 0x00 to 0xff".to_owned())
}

impl Command for Meta {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        match self.verb {
            Verb::Write { key, value, maintenance } => {
                let request = MetaWriteRequest { key: key.into(), value: value.into_bytes() };
                let write = |node: Node| {
                    let request = request.clone();
                    async move { Ok(node.client.machine().meta_write(request).await.map(drop)?) }
                };
                Ok(cx.targets_in(&maintenance)?.each("write the META value on", write).await)
            }
            Verb::Delete { key, maintenance } => {
                let request = MetaDeleteRequest { key: key.into() };
                let delete = |node: Node| async move {
                    Ok(node.client.machine().meta_delete(request).await.map(drop)?)
                };
                Ok(cx.targets_in(&maintenance)?.each("delete the META value on", delete).await)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_key;

    #[test]
    fn keys_are_eight_bits() {
        assert_eq!((parse_key("10"), parse_key("0x0a")), (Ok(10), Ok(10)));
        assert!(parse_key("256").is_err() && parse_key("x").is_err());
    }
}
