//! The real init in container machines, with a shell script in machined's place.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test on a real host")]

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use corten_harness::{Bind, ContainerMachine, ContainerSpec, LabSpec, Phase, wait_for};
use corten_supervisor::{
    Connection, Event, Frame, PROTOCOL_VERSION, PowerAction, ProcessSpec, ProcessState, ProcessStatus,
    Refusal, RefusalKind, Reply, Request, RequestFrame, StdioSpec,
};

const LONG: Duration = Duration::from_secs(30);

/// The init binary, built once.
fn init_binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let status =
            Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "corten-init"]).status().unwrap();
        assert!(status.success());
        Path::new(env!("CARGO_BIN_EXE_corten-launcher")).with_file_name("init")
    })
}

/// A test's folder with a root in it, and its lab.
struct Bench {
    folder: tempfile::TempDir,
    lab: LabSpec,
}

impl Bench {
    fn new(name: &str, subnet: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("rootfs");
        for path in [
            "sbin", "usr/bin", "usr/lib", "lib", "lib64", "proc", "sys", "dev", "run", "tmp", "var",
            "system", "etc",
        ] {
            std::fs::create_dir_all(root.join(path)).unwrap();
        }
        std::fs::copy(init_binary(), root.join("sbin/init")).unwrap();
        std::fs::copy("/bin/busybox", root.join("usr/bin/busybox")).unwrap();
        let script = "#!/usr/bin/busybox sh\necho machined is $$\nexec /usr/bin/busybox sleep 100000\n";
        std::fs::write(root.join("usr/bin/machined"), script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(root.join("usr/bin/machined"), mode).unwrap();
        let mut lab = LabSpec::new(format!("{name}-{}", std::process::id()));
        lab.gateway = Ipv4Addr::new(10, 5, subnet, 1);
        Self { folder, lab }
    }

    fn spec(&self, name: &str, number: u8) -> ContainerSpec {
        let folder = self.folder.path();
        let mut spec = ContainerSpec::new(name, folder.join("rootfs"), folder.join(name), self.lab.clone());
        spec.address = self.lab.address(number);
        // init is linked dynamically in tests, so the host's libraries are lent to it.
        spec.binds = ["/lib", "/lib64"]
            .map(|path| Bind { host: path.into(), machine: path.into(), read_only: true })
            .to_vec();
        spec.launcher = Some(env!("CARGO_BIN_EXE_corten-launcher").into());
        spec
    }
}

/// A blocking client of a machine's init.
struct Control {
    connection: Connection,
    next_id: u64,
    events: Vec<Event>,
}

impl Control {
    fn connect(machine: &ContainerMachine) -> Self {
        let path = machine.root().unwrap().join("run/init/control.sock");
        let connection =
            wait_for("init's socket", LONG, || machine.evidence(), || Connection::open(&path).ok()).unwrap();
        let mut control = Self { connection, next_id: 1, events: Vec::new() };
        control.call(Request::Hello { version: PROTOCOL_VERSION }).unwrap();
        control.call(Request::Subscribe).unwrap();
        control
    }

    fn call(&mut self, request: Request) -> Result<Reply, Refusal> {
        self.call_with(request, None).map(|(reply, _)| reply)
    }

    fn call_with(
        &mut self,
        request: Request,
        fd: Option<&OwnedFd>,
    ) -> Result<(Reply, Option<OwnedFd>), Refusal> {
        let id = self.next_id;
        self.next_id += 1;
        self.connection.send_request(&RequestFrame { id, request }, fd.map(AsFd::as_fd)).unwrap();
        loop {
            match self.connection.receive_frame().unwrap() {
                (Frame::Reply { id: answered, result }, fd) => {
                    assert_eq!(answered, id);
                    return result.map(|reply| (reply, fd));
                }
                (Frame::Event { event }, _) => self.events.push(event),
            }
        }
    }

    fn process(&mut self, request: Request) -> ProcessStatus {
        match self.call(request).unwrap() {
            Reply::Process { status } => *status,
            reply => panic!("unexpected {reply:?}"),
        }
    }

    fn start(&mut self, name: &str, script: &str) -> ProcessStatus {
        let mut spec = ProcessSpec::new(["/usr/bin/busybox", "sh", "-c", script]);
        spec.env = [("PATH".to_owned(), "/usr/bin".to_owned())].into();
        spec.cgroup = Some(format!("system/{name}"));
        spec.stdio = StdioSpec::Log(format!("/var/log/{name}.log"));
        self.process(Request::Start { name: name.into(), spec: Box::new(spec) })
    }

    fn next_event(&mut self) -> Event {
        if !self.events.is_empty() {
            return self.events.remove(0);
        }
        match self.connection.receive_frame().unwrap() {
            (Frame::Event { event }, _) => event,
            (frame, _) => panic!("unexpected {frame:?}"),
        }
    }

    /// The machine's log once it has this many lines.
    fn log(machine: &ContainerMachine, name: &str, lines: usize) -> String {
        let path = machine.spec().folder.join(format!("var/log/{name}.log"));
        wait_for(
            name,
            LONG,
            || machine.evidence(),
            || std::fs::read_to_string(&path).ok().filter(|text| text.lines().count() >= lines),
        )
        .unwrap()
    }
}

#[test]
fn nothing_notices_that_machined_dies() {
    let bench = Bench::new("brain", 21);
    let machine = ContainerMachine::start(bench.spec("brain", 2)).unwrap();
    let mut control = Control::connect(&machine);
    let sleeper = control.start("sleeper", "echo here; exec busybox sleep 100000");
    assert_eq!(sleeper.state, ProcessState::Running);
    let (_reader, writer) = std::io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    control.call_with(Request::StoreFd { name: "listener".into() }, Some(&writer)).unwrap();
    let before = control.process(Request::Status { name: "machined".into() });
    control.call(Request::Signal { name: "machined".into(), signal: 9 }).unwrap();
    let restarted = loop {
        match control.next_event() {
            Event::Started { name, pid, restarts: 1 } if name == "machined" => break pid,
            _ => {}
        }
    };
    assert_ne!(Some(restarted), before.pid);
    assert_eq!(control.process(Request::Status { name: "sleeper".into() }).pid, sleeper.pid);
    let (_, fd) = control.call_with(Request::TakeFd { name: "listener".into() }, None).unwrap();
    assert!(fd.is_some());
    let refusal = control.call(Request::Stop { name: "machined".into(), grace_ms: 0 }).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Invalid);
    let stopped = control.process(Request::Stop { name: "sleeper".into(), grace_ms: 5000 });
    assert_eq!((stopped.state, stopped.history.len()), (ProcessState::Finished, 1));
    assert_eq!(Control::log(&machine, "sleeper", 1), "here\n");
    machine.stop(LONG).unwrap();
}

#[test]
fn orphans_are_reaped_and_failures_told() {
    let bench = Bench::new("orphan", 22);
    let machine = ContainerMachine::start(bench.spec("orphan", 2)).unwrap();
    let mut control = Control::connect(&machine);
    control.start("parent", "(busybox sleep 0.1; exit 3) & (busybox sleep 0.1; exit 4) & exit 5");
    let is_exit = |event: &Event| matches!(event, Event::Exited { name, .. } if name == "parent");
    while !is_exit(&control.next_event()) {}
    let processes = machine.root().unwrap().join("proc");
    let is_process = |name: &str| name.parse::<u32>().is_ok_and(|pid| pid != 1);
    wait_for(
        "the orphans to be gone",
        LONG,
        || machine.evidence(),
        || {
            let names = std::fs::read_dir(&processes).unwrap().flatten().map(|entry| entry.file_name());
            // machined is the only one left.
            (names.filter(|name| is_process(&name.to_string_lossy())).count() == 1).then_some(())
        },
    )
    .unwrap();
    let spec = ProcessSpec::new(["/no/such/program"]);
    let refusal = control.call(Request::Start { name: "broken".into(), spec: Box::new(spec) }).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Failed);
    assert!(refusal.message.contains("execute"), "{}", refusal.message);
    machine.cut_power().unwrap();
}

#[test]
fn a_machine_reboots_and_powers_off_and_leaves_nothing() {
    let bench = Bench::new("power", 23);
    let spec = bench.spec("power", 2);
    let folder = spec.folder.clone();
    let machine = ContainerMachine::start(spec).unwrap();
    let mut control = Control::connect(&machine);
    control.start("stubborn", "trap '' TERM; while true; do busybox sleep 1; done");
    control.call(Request::Power { action: PowerAction::Reboot }).unwrap();
    machine.wait_for_boot(2, LONG).unwrap();
    let mut control = Control::connect(&machine);
    let (_, after) = (control.start("again", "echo up"), Control::log(&machine, "again", 1));
    assert_eq!(after, "up\n");
    control.call(Request::Power { action: PowerAction::PowerOff }).unwrap();
    let status = machine.wait_for_end(LONG).unwrap();
    assert_eq!((status.phase, status.message.as_str()), (Phase::Ended, "powered off"));
    assert!(folder.join("var/log/again.log").exists());
    drop(machine);
    assert!(!Path::new("/run/netns").join(bench.lab.namespace()).exists());
    assert!(!Path::new("/sys/fs/cgroup/pids/corten-power").exists());
    assert!(!Path::new("/sys/fs/cgroup/corten-power").exists());
}

#[test]
fn a_client_may_take_over_the_power_button() {
    let bench = Bench::new("button", 24);
    let machine = ContainerMachine::start(bench.spec("button", 2)).unwrap();
    let mut control = Control::connect(&machine);
    let pid = machine.status().unwrap().pid.unwrap();
    corten_sys::signal::send(pid, corten_sys::signal::number::TERMINATE).unwrap();
    while !matches!(control.next_event(), Event::PowerRequested { action: PowerAction::PowerOff }) {}
    control.call(Request::AcceptPower).unwrap();
    // The machine goes on for as long as its shutdown sequence needs.
    control.start("sequence", "echo done");
    Control::log(&machine, "sequence", 1);
    control.call(Request::Power { action: PowerAction::PowerOff }).unwrap();
    assert_eq!(machine.wait_for_end(LONG).unwrap().message, "powered off");
}

#[test]
fn machines_of_a_lab_reach_each_other_and_see_no_host() {
    let bench = Bench::new("pair", 25);
    let first = ContainerMachine::start(bench.spec("first", 2)).unwrap();
    let second = ContainerMachine::start(bench.spec("second", 3)).unwrap();
    let mut control = Control::connect(&first);
    let address = second.address();
    control.start("ping", &format!("busybox ping -c 1 -W 5 {address} >/dev/null && echo reached"));
    assert_eq!(Control::log(&first, "ping", 1), "reached\n");
    control.start(
        "view",
        "echo $(busybox hostname) $(busybox ls /dev | busybox grep -c -E 'vd|sd|loop'); \
         echo 1 2>/dev/null >/proc/sys/vm/swappiness || echo protected; \
         echo 9 >/proc/sys/kernel/panic && busybox cat /proc/sys/kernel/panic; \
         busybox touch /etc/x 2>/dev/null || echo read-only; \
         busybox cat /proc/self/cgroup | busybox grep -c system/view",
    );
    let view = Control::log(&first, "view", 5);
    let lines: Vec<&str> = view.lines().collect();
    assert_eq!(&lines[..4], ["first 0", "protected", "9", "read-only"], "{view}");
    assert_ne!(lines[4], "0", "{view}");
    assert_ne!(std::fs::read_to_string("/proc/sys/kernel/panic").unwrap().trim(), "9");
    let lab = first.lab().unwrap();
    let seen = lab.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()).unwrap();
    assert!(seen.contains("m-first") && seen.contains("m-second"), "{seen}");
}
