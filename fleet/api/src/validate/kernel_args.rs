//! Rules of `KernelArgs`: few and short.

use corten_fleet_resources::machine::KernelArgs;
use corten_resource::Resource;

use super::View;

/// Most arguments (fleet.md 3.3).
const ARGS_MAX: usize = 64;
/// Longest argument, bytes (fleet.md 3.3).
const ARG_BYTES_MAX: usize = 256;

pub(super) fn check(
    _: &View,
    _: Option<&Resource<KernelArgs>>,
    new: &Resource<KernelArgs>,
) -> Result<(), String> {
    let args = &new.spec.args;
    if args.len() > ARGS_MAX {
        return Err(format!("there are {} kernel arguments, and may be {ARGS_MAX}", args.len()));
    }
    for (index, arg) in args.iter().enumerate() {
        if arg.is_empty() || arg.len() > ARG_BYTES_MAX {
            return Err(format!("kernel argument {} must have 1 to {ARG_BYTES_MAX} bytes", index + 1));
        }
        if arg.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(format!("kernel argument {} has a space in it; write one argument each", index + 1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fleet, with};
    use crate::validate::testing::check;

    #[test]
    fn there_are_at_most_64_of_at_most_256_bytes() {
        let fleet = Fleet::new();
        for (args, refusal) in [
            (vec!["console=ttyS0".to_owned(); 64], ""),
            (vec!["a=b".to_owned(); 65], "there are 65 kernel arguments, and may be 64"),
            (vec!["a".repeat(256)], ""),
            (vec!["a".repeat(257)], "kernel argument 1 must have 1 to 256 bytes"),
            (vec!["a".to_owned(), String::new()], "kernel argument 2 must have"),
            (vec!["a b".to_owned()], "has a space in it"),
        ] {
            check(&fleet, with("m-1", KernelArgs { args }, &[]), refusal);
        }
    }
}
