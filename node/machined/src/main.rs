//! Programs of the machine in one file: machined, apid and trustd, told apart by name.
//!
//! They share text pages; each does its work on one thread, and a second one keeps its memory small.

mod api;
mod configuration;
mod console;
mod event_log;
mod events;
mod evidence;
mod logs;
mod machined;
mod power;
mod sequencer;
mod services;
mod wire_events;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    corten_sys::memory::stay_small();
    // Others compute for long; whoever asks the machine waits for each of these programs in turn. Where the kernel refuses,
    // the answer is only later.
    let _ = corten_sys::schedule::be_prompt();
    let mut arguments = std::env::args();
    let invoked = arguments.next().unwrap_or_default();
    let name = Path::new(&invoked).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        "machined" => machined::main(),
        "apid" => corten_apid::main(),
        "trustd" => corten_trustd::main(),
        other => {
            eprintln!("{other} is none of machined, apid, trustd; this program is started by init");
            ExitCode::from(2)
        }
    }
}
