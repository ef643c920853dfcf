//! Control groups as the controller of memory sees them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use corten_config::oom::{Class, ClassUse, Group, Pressure, Sample, Stall};
use corten_sys::cgroup::Cgroups;

/// A process with this score or a lower one is needed by everything else: kubelet gives it to the pods of the control
/// plane (-997), the machine to its own services. What holds such a process is never ended.
const SCORE_NEEDED: i32 = -900;
/// Longest command line that is kept, bytes.
const COMMAND_BYTES_MAX: usize = 256;
/// Most command lines that are kept of a group.
const COMMANDS_MAX: usize = 32;

/// What may be seen of control groups, and done to them.
pub trait Groups: Send + Sync + 'static {
    /// Pressure of the whole machine now; nothing where the kernel or the host tells nothing.
    fn machine(&self) -> Option<Pressure>;
    /// Pressure and use of every class, with that of the machine.
    fn sample(&self, machine: Pressure) -> Sample;
    /// What may be ended.
    fn candidates(&self) -> Vec<Group>;
    /// Command lines of the processes of a group.
    fn commands(&self, path: &str) -> Vec<String>;
    /// Ends every process of a group at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn end(&self, path: &str) -> anyhow::Result<()>;
}

/// The groups of this machine.
#[derive(Debug)]
pub struct MachineGroups {
    root: PathBuf,
    processes: PathBuf,
}

impl Default for MachineGroups {
    fn default() -> Self {
        Self { root: "/sys/fs/cgroup".into(), processes: "/proc".into() }
    }
}

impl Groups for MachineGroups {
    fn machine(&self) -> Option<Pressure> {
        self.pressure("")
    }

    fn sample(&self, machine: Pressure) -> Sample {
        let mut classes = BTreeMap::new();
        for class in Class::ALL {
            let all = self.of_class(class).into_iter().map(|path| self.used(&path));
            classes.insert(class, all.fold(ClassUse::default(), together));
        }
        Sample { machine, classes }
    }

    fn candidates(&self) -> Vec<Group> {
        let pods = [
            (Class::Besteffort, self.pods("kubepods/besteffort")),
            (Class::Burstable, self.pods("kubepods/burstable")),
            (Class::Guaranteed, self.pods("kubepods")),
            (Class::Podruntime, self.children("podruntime")),
            (Class::System, self.children("system")),
        ];
        let all =
            pods.into_iter().flat_map(|(class, paths)| paths.into_iter().map(move |path| (class, path)));
        let groups = all.filter(|(_, path)| self.may_end(path)).map(|(class, path)| Group {
            memory_current: self.bytes(&path, "memory.current"),
            memory_peak: self.bytes(&path, "memory.peak"),
            memory_max: self.bytes(&path, "memory.max"),
            class,
            path,
        });
        groups.collect()
    }

    fn commands(&self, path: &str) -> Vec<String> {
        let command = |pid: u32| {
            let text = fs::read(self.processes.join(pid.to_string()).join("cmdline")).ok()?;
            let text = String::from_utf8_lossy(text.get(..COMMAND_BYTES_MAX).unwrap_or(&text)).into_owned();
            Some(text.trim_end_matches('\0').replace('\0', " ")).filter(|text| !text.is_empty())
        };
        self.pids(path).into_iter().filter_map(command).take(COMMANDS_MAX).collect()
    }

    fn end(&self, path: &str) -> anyhow::Result<()> {
        Ok(Cgroups::detect(&self.root)?.kill(path)?)
    }
}

impl MachineGroups {
    /// Groups whose pressure is that of a class. What is directly in `kubepods` is guaranteed.
    fn of_class(&self, class: Class) -> Vec<String> {
        match class {
            Class::Besteffort => vec!["kubepods/besteffort".to_owned()],
            Class::Burstable => vec!["kubepods/burstable".to_owned()],
            Class::Guaranteed => self.pods("kubepods"),
            Class::Podruntime => vec!["podruntime".to_owned()],
            Class::System => vec!["init".to_owned(), "system".to_owned()],
        }
    }

    fn children(&self, parent: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join(parent)) else { return Vec::new() };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
        let mut paths: Vec<String> = names.map(|name| format!("{parent}/{name}")).collect();
        paths.sort();
        paths
    }

    fn pods(&self, parent: &str) -> Vec<String> {
        let mut paths = self.children(parent);
        paths.retain(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("pod")));
        paths
    }

    fn text(&self, group: &str, file: &str) -> io::Result<String> {
        fs::read_to_string(self.root.join(group).join(file))
    }

    /// A number of bytes; `max` is none.
    fn bytes(&self, group: &str, file: &str) -> Option<u64> {
        self.text(group, file).ok()?.trim().parse().ok()
    }

    fn pressure(&self, group: &str) -> Option<Pressure> {
        self.text(group, "memory.pressure").ok().map(|text| parse(&text))
    }

    fn used(&self, group: &str) -> ClassUse {
        let bytes = |file| self.bytes(group, file).unwrap_or_default() as f64;
        ClassUse {
            pressure: self.pressure(group).unwrap_or_default(),
            current: bytes("memory.current"),
            peak: bytes("memory.peak"),
            max: bytes("memory.max"),
        }
    }

    fn pids(&self, group: &str) -> Vec<u32> {
        let mut pids = Vec::new();
        collect(&self.root.join(group), &mut pids);
        pids
    }

    /// It has processes, and nothing needs one of them.
    fn may_end(&self, group: &str) -> bool {
        let score = |pid: u32| -> Option<i32> {
            let file = self.processes.join(pid.to_string()).join("oom_score_adj");
            fs::read_to_string(file).ok()?.trim().parse().ok()
        };
        let pids = self.pids(group);
        !pids.is_empty() && !pids.into_iter().filter_map(score).any(|score| score <= SCORE_NEEDED)
    }
}

fn collect(group: &Path, pids: &mut Vec<u32>) {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        collect(&entry.path(), pids);
    }
}

/// Groups of one class together: who waits longest speaks for all, and what is taken adds up.
fn together(one: ClassUse, other: ClassUse) -> ClassUse {
    let stall = |one: Stall, other: Stall| Stall {
        avg10: one.avg10.max(other.avg10),
        avg60: one.avg60.max(other.avg60),
        avg300: one.avg300.max(other.avg300),
        total: one.total + other.total,
    };
    ClassUse {
        pressure: Pressure {
            some: stall(one.pressure.some, other.pressure.some),
            full: stall(one.pressure.full, other.pressure.full),
        },
        current: one.current + other.current,
        peak: one.peak + other.peak,
        max: one.max + other.max,
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn parse(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let stall = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            match name {
                "avg10" => stall.avg10 = value,
                "avg60" => stall.avg60 = value,
                "avg300" => stall.avg300 = value,
                "total" => stall.total = value,
                _ => {}
            }
        }
    }
    pressure
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESSURE: &str = "some avg10=1.50 avg60=0.50 avg300=0.10 total=2000\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1000\n";

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, text).expect("a file");
        }

        /// A group with one process.
        fn group(&self, path: &str, pid: u32, current: u64, score: i32) {
            self.write(&format!("cgroup/{path}/cgroup.procs"), &format!("{pid}\n"));
            self.write(&format!("cgroup/{path}/memory.current"), &format!("{current}\n"));
            self.write(&format!("cgroup/{path}/memory.max"), "max\n");
            self.write(&format!("cgroup/{path}/memory.pressure"), PRESSURE);
            self.write(&format!("proc/{pid}/oom_score_adj"), &format!("{score}\n"));
            self.write(&format!("proc/{pid}/cmdline"), "/bin/thing\0--flag\0");
        }

        fn groups(&self) -> MachineGroups {
            MachineGroups { root: self.0.path().join("cgroup"), processes: self.0.path().join("proc") }
        }
    }

    #[test]
    fn pods_and_services_are_seen_and_what_everything_needs_is_no_candidate() {
        let machine = Machine(tempfile::tempdir().expect("a folder"));
        assert_eq!(machine.groups().machine(), None, "a host that tells nothing");
        machine.write("cgroup/memory.pressure", PRESSURE);
        machine.group("kubepods/besteffort/poda/c1", 10, 100, 1000);
        machine.write("cgroup/kubepods/besteffort/poda/memory.current", "100\n");
        machine.group("kubepods/burstable/podb", 11, 200, 500);
        machine.group("kubepods/podc", 12, 300, -997);
        machine.group("podruntime/kubelet", 13, 400, -900);
        machine.group("system/debug", 14, 500, 0);
        let groups = machine.groups();
        let candidates = groups.candidates();
        let paths: Vec<&str> = candidates.iter().map(|group| group.path.as_str()).collect();
        assert_eq!(paths, ["kubepods/besteffort/poda", "kubepods/burstable/podb", "system/debug"]);
        assert_eq!((candidates[0].memory_current, candidates[0].memory_max), (Some(100), None));
        assert_eq!(groups.commands("kubepods/besteffort/poda"), ["/bin/thing --flag"]);
        let sample = groups.sample(groups.machine().expect("pressure"));
        assert!((sample.machine.some.avg10 - 1.5).abs() < f64::EPSILON);
        assert!((sample.classes[&Class::Guaranteed].current - 300.0).abs() < f64::EPSILON);
    }

    #[test]
    fn nothing_makes_the_parser_panic() {
        assert_eq!(parse(PRESSURE).full.total as u64, 1000);
        bolero::check!().for_each(|bytes: &[u8]| {
            parse(&String::from_utf8_lossy(bytes));
        });
    }
}
