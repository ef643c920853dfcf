//! The program: small in memory, then what [`corten_dataplane`] does.
//!
//! It is a file of its own because it is touched every second: in one file with machined it would keep pages of that in
//! memory, and addresses of all that machined consists of.

use std::process::ExitCode;

fn main() -> ExitCode {
    corten_sys::memory::stay_small();
    corten_dataplane::run()
}
