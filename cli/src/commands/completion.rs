//! `completion`: makes shells complete what is typed.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::command::Command;
use crate::context::Cx;
use crate::failure::Failure;

/// Print a script that makes a shell complete commands and flags.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  source <(corten completion bash)\n  corten completion fish > ~/.config/fish/completions/corten.fish"
)]
pub struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Command for Completion {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "corten", &mut script);
        cx.print(script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            generate(shell, &mut Cli::command(), "corten", &mut script);
            assert!(String::from_utf8(script).expect("text").contains("apply-config"), "{shell}");
        }
    }
}
