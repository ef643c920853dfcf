//! The manager as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    corten_fleet::main()
}
