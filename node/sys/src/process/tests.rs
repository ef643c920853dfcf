use std::io::Read;

use super::*;

fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn null() -> OwnedFd {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap().into()
}

/// A shell script that writes to the returned pipe.
fn script(body: &str) -> (Launch, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    let stderr = writer.try_clone().unwrap();
    let launch = Launch {
        program: text("/bin/sh"),
        arguments: vec![text("sh"), text("-c"), text(body)],
        environment: vec![text("PATH=/usr/bin:/bin"), text("WORD=it")],
        working_dir: text("/"),
        stdio: [null(), writer.into(), stderr.into()],
        descriptors: Vec::new(),
        cgroups: Vec::new(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        capabilities: None,
        ambient: false,
        limits: Vec::new(),
        no_new_privs: false,
        oom_score_adj: None,
        namespaces: Namespaces::default(),
        read_only_mounts: false,
        seccomp: None,
        terminal: false,
    };
    (launch, reader)
}

fn output((launch, mut reader): (Launch, io::PipeReader)) -> (String, WaitStatus) {
    let process = launch.start().unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (text, reap(process.pid).unwrap())
}

#[test]
fn runs_with_environment_directory_and_exit_code() {
    let (mut launch, reader) = script("echo $WORD; pwd; exit 7");
    launch.working_dir = text("/usr");
    assert_eq!(output((launch, reader)), ("it\n/usr\n".into(), WaitStatus::Code(7)));
}

#[test]
fn a_failure_names_its_step() {
    let (mut launch, _reader) = script("");
    launch.program = text("/no/such/program");
    let error = launch.start().unwrap_err();
    assert_eq!(error.step(), Step::Exec);
    assert_eq!(error.source.raw_os_error(), Some(libc::ENOENT));
    let (mut launch, _reader) = script("");
    launch.working_dir = text("/no/such/folder");
    assert_eq!(launch.start().unwrap_err().step(), Step::WorkingDir);
}

#[test]
fn descriptors_arrive_at_their_numbers_even_when_these_are_taken() {
    let (mut launch, mut reader) = script("echo three >&3; echo four >&4; ls /proc/self/fd | wc -l");
    let (mut three, three_writer) = io::pipe().unwrap();
    let (mut four, four_writer) = io::pipe().unwrap();
    launch.descriptors = vec![(four_writer.into(), 4), (three_writer.into(), 3)];
    let process = launch.start().unwrap();
    let mut texts = [String::new(), String::new(), String::new()];
    three.read_to_string(&mut texts[0]).unwrap();
    four.read_to_string(&mut texts[1]).unwrap();
    reader.read_to_string(&mut texts[2]).unwrap();
    reap(process.pid).unwrap();
    // 0 to 4, and the folder that ls has open.
    assert_eq!(texts.map(|text| text.trim().to_owned()), ["three", "four", "6"]);
}

#[test]
fn an_unprivileged_user_keeps_exactly_the_named_capabilities() {
    let (mut launch, reader) =
        script("id -u; id -g; id -G; grep -E 'Cap(Eff|Bnd|Amb)|NoNewPrivs' /proc/self/status");
    (launch.uid, launch.gid, launch.groups) = (50, 51, vec![51, 52]);
    launch.capabilities = Some(capability::Set::from_names(["CAP_NET_BIND_SERVICE"]).unwrap());
    launch.ambient = true;
    launch.no_new_privs = true;
    let (text, status) = output((launch, reader));
    assert_eq!(status, WaitStatus::Code(0), "{text}");
    let words: Vec<&str> = text.split_whitespace().collect();
    let only = "0000000000000400";
    let wanted =
        ["50", "51", "51", "52", "CapEff:", only, "CapBnd:", only, "CapAmb:", only, "NoNewPrivs:", "1"];
    assert_eq!(words, wanted);
}

#[test]
fn namespaces_limits_and_read_only_mounts() {
    let (mut launch, reader) =
        script("hostname inner && hostname; ulimit -c; touch /tmp/corten-sys-probe && echo wrote");
    launch.namespaces = Namespaces::UTS.and(Namespaces::MOUNT);
    launch.limits = vec![(limit_number("core").unwrap(), 0, 0)];
    launch.read_only_mounts = true;
    let (text, _) = output((launch, reader));
    assert!(
        text.starts_with("inner\n0\n") && text.contains("Read-only") && !text.contains("wrote"),
        "{text}"
    );
    assert_ne!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "inner");
}

#[test]
fn the_filter_refuses_administration_and_lets_the_rest_pass() {
    let (mut launch, reader) = script("echo fine; mount -t tmpfs x /tmp && echo mounted");
    launch.namespaces = Namespaces::MOUNT;
    launch.seccomp = Some(seccomp::Filter::without_administration());
    let (text, _) = output((launch, reader));
    assert!(text.starts_with("fine\n") && !text.contains("mounted"), "{text}");
}

#[test]
fn signals_are_at_their_defaults() {
    let (launch, reader) = script("grep -E 'Sig(Blk|Ign)' /proc/self/status");
    let (text, _) = output((launch, reader));
    let masks: Vec<&str> = text.split_whitespace().filter(|word| !word.starts_with("Sig")).collect();
    assert_eq!(masks, ["0000000000000000"; 2], "{text}");
}

#[test]
fn forking_needs_a_single_thread() {
    assert!(fork_single_threaded(Namespaces::default(), || 0).is_err());
}

#[test]
fn a_killed_process_is_told_from_an_exited_one() {
    let (launch, _reader) = script("sleep 1000");
    let process = launch.start().unwrap();
    assert_eq!(wait_for(process.pid).unwrap(), None);
    crate::signal::send_to_pidfd(std::os::fd::AsFd::as_fd(&process.pidfd), libc::SIGKILL).unwrap();
    assert_eq!(reap(process.pid).unwrap(), WaitStatus::Signal(libc::SIGKILL));
}
