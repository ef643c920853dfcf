//! `cargo xtask`: the one front door for developers.

#![allow(
    clippy::disallowed_methods,
    reason = "runs on the developer's host, in real time, and starts programs there"
)]

mod bench;
mod build;
mod check;
mod e2e;
mod fuzz;
mod generate;
mod host;
mod image;
mod kit;
mod layers;
mod progress;
mod skips;
mod spec;
mod tidy;
mod up;

use std::process::ExitCode;

/// A command: its name, what it is for, and what runs it.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

const COMMANDS: &[Command] = &[
    Command { name: "up", about: "start a machine that becomes a Kubernetes node", run: up::run },
    Command { name: "down", about: "take the machines away", run: up::down },
    Command {
        name: "check",
        about: "the fast loop: format, tidy, clippy and tests of the touched (or named) crates",
        run: check::run,
    },
    Command { name: "test", about: "what CI runs: all layers, or those that are named", run: layers::run },
    Command { name: "tidy", about: "rules of the house that no compiler knows", run: tidy::run },
    Command {
        name: "gen",
        about: "write the pages that come from code; --check compares",
        run: generate::run,
    },
    Command { name: "kit", about: "make third-party parts that are not in the cache yet", run: kit::run },
    Command {
        name: "image",
        about: "build a root, OCI images, UKI and disk of one flavour",
        run: image::run,
    },
    Command { name: "e2e", about: "tell a scenario with real machines and stock clients", run: e2e::run },
    Command { name: "bench", about: "measure side by side with a peer, in the same run", run: bench::run },
    Command { name: "spec", about: "measure what SPECIFICATION.md promises", run: spec::run },
];

fn main() -> ExitCode {
    if let Some(code) = corten_harness::dispatch(std::env::args_os()) {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else { return usage() };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else { return usage() };
    match (command.run)(rest) {
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

fn usage() -> ExitCode {
    eprintln!("usage: cargo xtask COMMAND [--help]\n");
    for command in COMMANDS {
        eprintln!("  {:<8} {}", command.name, command.about);
    }
    ExitCode::from(2)
}
