//! The command line of Corten.

use std::process::ExitCode;

fn main() -> ExitCode {
    corten::main()
}
