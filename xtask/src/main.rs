//! `cargo xtask`: the one front door for developers.

#![allow(
    clippy::disallowed_methods,
    reason = "runs on the developer's host, in real time, and starts programs there"
)]

mod bench;
mod build;
mod check;
mod e2e;
mod figures;
mod fuzz;
mod generate;
mod host;
mod image;
mod kit;
mod layers;
mod programs;
mod progress;
mod skips;
mod spec;
mod tidy;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The one front door for developers.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Up),
    Down(up::Down),
    Check(check::Check),
    Test(layers::Test),
    Tidy(tidy::Tidy),
    Gen(generate::Gen),
    Kit(kit::Make),
    Image(image::Image),
    E2e(e2e::E2e),
    Bench(bench::Bench),
    Spec(spec::Spec),
}

impl Command {
    fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Up(up) => up::run(up),
            Self::Down(_) => up::down(),
            Self::Check(check) => check::run(check),
            Self::Test(test) => layers::run(test),
            Self::Tidy(tidy) => tidy::run(tidy),
            Self::Gen(wanted) => generate::run(wanted),
            Self::Kit(make) => kit::run(make),
            Self::Image(image) => image::run(image),
            Self::E2e(e2e) => e2e::run(e2e),
            Self::Bench(bench) => bench::run(bench),
            Self::Spec(spec) => spec::run(spec),
        }
    }
}

fn main() -> ExitCode {
    if let Some(code) = corten_harness::dispatch(std::env::args_os()) {
        return code;
    }
    match Xtask::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, for people.
fn report(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  cause: {cause}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_help_that_says_what_it_is_for() {
        use clap::CommandFactory;
        let mut xtask = Xtask::command();
        xtask.build();
        for command in xtask.get_subcommands().filter(|command| command.get_name() != "help") {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for option in command.get_arguments() {
                assert!(option.get_help().is_some(), "{} {}", command.get_name(), option.get_id());
            }
        }
        xtask.debug_assert();
    }
}
