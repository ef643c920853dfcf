//! The process list.

use std::fs;
use std::path::Path;

use corten_api::machine::ProcessInfo;

const TICKS: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// Every process that `/proc` shows; one that ends meanwhile is left out.
#[must_use]
pub fn list() -> Vec<ProcessInfo> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut processes: Vec<_> = pids.filter_map(process).collect();
    processes.sort_by_key(|process| process.pid);
    processes
}

fn process(pid: i32) -> Option<ProcessInfo> {
    let folder = Path::new("/proc").join(pid.to_string());
    let mut info = parse_stat(&fs::read_to_string(folder.join("stat")).ok()?)?;
    info.pid = pid;
    info.executable =
        fs::read_link(folder.join("exe")).map(|path| path.display().to_string()).unwrap_or_default();
    let arguments = fs::read(folder.join("cmdline")).unwrap_or_default();
    info.args = String::from_utf8_lossy(&arguments).trim_end_matches('\0').replace('\0', " ");
    info.label = fs::read_to_string(folder.join("attr/current"))
        .map(|label| label.trim_end_matches(['\0', '\n']).to_owned())
        .unwrap_or_default();
    Some(info)
}

/// `/proc/<pid>/stat`; the command stands in parentheses and may contain some itself.
#[expect(clippy::cast_precision_loss, reason = "the wire carries seconds as a double")]
fn parse_stat(text: &str) -> Option<ProcessInfo> {
    let (start, end) = (text.find('(')?, text.rfind(')')?);
    let fields: Vec<&str> = text.get(end + 1..)?.split_whitespace().collect();
    let number =
        |index: usize| fields.get(index).and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
    Some(ProcessInfo {
        ppid: fields.get(1)?.parse().ok()?,
        state: (*fields.first()?).to_owned(),
        threads: i32::try_from(number(17)).unwrap_or(i32::MAX),
        cpu_time: (number(11) + number(12)) as f64 / TICKS,
        virtual_memory: number(20),
        resident_memory: number(21) * PAGE_BYTES,
        command: text.get(start + 1..end)?.to_owned(),
        ..ProcessInfo::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_contain_parentheses() {
        let text = "7 (a) (b) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 3 0 9 8192 2 0";
        let info = parse_stat(text).expect("a process");
        assert_eq!(info.command, "a) (b");
        assert_eq!((info.ppid, info.threads, info.cpu_time), (1, 3, 2.0));
        assert_eq!((info.virtual_memory, info.resident_memory), (8192, 8192));
    }

    #[test]
    fn we_are_in_the_list() {
        let own = i32::try_from(std::process::id()).expect("small pid");
        assert!(list().iter().any(|process| process.pid == own));
    }

    #[test]
    fn any_status_of_a_process_is_read_or_left_out() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            // A process names itself as it likes.
            drop(parse_stat(&text));
            assert!(parse_stat(&format!("7 ({text}) S 1 7 7 0")).is_some());
        });
    }
}
