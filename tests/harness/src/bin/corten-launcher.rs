//! The launcher of machines as a program of its own, for callers that cannot take its role themselves, such as test
//! binaries.

use std::process::ExitCode;

fn main() -> ExitCode {
    corten_harness::dispatch(std::env::args_os()).unwrap_or_else(|| {
        eprintln!("corten-launcher is started by the test harness and by nothing else");
        ExitCode::from(2)
    })
}
