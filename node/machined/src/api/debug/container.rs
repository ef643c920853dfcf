//! The container of a session: what it sees, and the pipes to it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corten_api::machine::debug_container_run_request_spec::Profile;
use corten_base::paths;
use corten_config::values;
use corten_containerd::spec::{Mount, Spec};
use corten_containerd::{ImageConfig, Pipes, SpecBuilder};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tonic::Status;

/// Label of a container for debugging.
pub const LABEL: (&str, &str) = ("corten.dev/debug", "true");
/// Variable by which a client asks for less time.
const TIMEOUT: &str = "DEBUG_TIMEOUT";
/// How long a session lasts when nobody asks for another time.
const TIME: Duration = Duration::from_secs(30 * 60);
/// How long a session lasts at most.
const TIME_MAX: Duration = Duration::from_secs(60 * 60);
/// Memory that a session may take, so that the machine does not suffer from being looked at.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// Processes of a session.
const PROCESSES_MAX: i64 = 1024;

/// How much of the machine a container sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// Devices, files below `/host` and the network; its processes are its own.
    Machine,
    /// Also the machine's processes.
    Processes,
}

impl Sees {
    /// What a client asks for.
    pub fn of(profile: Profile) -> Result<Self, Status> {
        match profile {
            Profile::Privileged => Ok(Self::Machine),
            Profile::HostNs => Ok(Self::Processes),
            Profile::Unspecified => {
                Err(Status::invalid_argument("a profile is required: privileged or host-ns"))
            }
        }
    }

    /// Name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Machine => "privileged",
            Self::Processes => "host-ns",
        }
    }
}

/// How long a session may last.
pub fn time(environment: &HashMap<String, String>) -> Result<Duration, Status> {
    let Some(text) = environment.get(TIMEOUT) else { return Ok(TIME) };
    let wanted = values::duration(text).filter(|wanted| !wanted.is_zero() && *wanted <= TIME_MAX);
    wanted.ok_or_else(|| {
        Status::invalid_argument(format!("{TIMEOUT}={text} is not a duration of at most {TIME_MAX:?}"))
    })
}

/// What runc is told. Each container has a group of its own: what is left of one is killed by its group, and must not
/// take another with it.
pub fn spec(
    id: &str,
    image: &ImageConfig,
    sees: Sees,
    args: &[String],
    environment: &HashMap<String, String>,
    terminal: bool,
    missing: &[&str],
) -> Spec {
    let mut shared = vec!["network"];
    if sees == Sees::Processes {
        shared.extend(["pid", "ipc", "uts", "cgroup"]);
    }
    let mut builder = SpecBuilder::new()
        .image(image)
        .privileged()
        .user(0, 0)
        .host_namespaces(&shared)
        .without_capabilities(missing)
        .writable_root()
        .terminal(terminal)
        .cgroup(&format!("/system/debug/{id}"))
        .memory_limit(MEMORY_BYTES_MAX)
        .pids_limit(PROCESSES_MAX)
        .propagation("rslave")
        .mount(bind("/", "/host"))
        .mount(bind("/dev", "/dev"));
    if !args.is_empty() {
        builder = builder.args(args.iter().cloned());
    }
    let sorted: BTreeMap<_, _> = environment.iter().collect();
    for (name, value) in sorted {
        builder = builder.env(name, value);
    }
    builder.build()
}

fn bind(source: &str, destination: &str) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: "bind".to_owned(),
        source: source.to_owned(),
        options: ["rbind", "rslave", "rw"].map(str::to_owned).to_vec(),
    }
}

/// The ends of the pipes that are ours. Their folder goes with them.
#[derive(Debug)]
pub struct Ends {
    /// To the container.
    pub stdin: Sender,
    /// From the container.
    pub stdout: Receiver,
    /// Its errors; silent when it has a terminal.
    pub stderr: Receiver,
    folder: Folder,
}

impl Ends {
    /// Makes the pipes of a session.
    pub fn make(id: &str, terminal: bool) -> std::io::Result<(Self, Pipes)> {
        Self::make_in(&Path::new(paths::RUN).join("machined/debug").join(id), terminal)
    }

    fn make_in(folder: &Path, terminal: bool) -> std::io::Result<(Self, Pipes)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let place = Folder(folder.to_owned());
        let pipe = |name: &str| -> std::io::Result<PathBuf> {
            let path = folder.join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            Ok(path)
        };
        let (stdin, stdout, stderr) = (pipe("stdin")?, pipe("stdout")?, pipe("stderr")?);
        let ends = Self {
            // Opened for reading as well, because nobody reads yet.
            stdin: OpenOptions::new().read_write(true).open_sender(&stdin)?,
            stdout: OpenOptions::new().open_receiver(&stdout)?,
            stderr: OpenOptions::new().open_receiver(&stderr)?,
            folder: place,
        };
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let pipes = Pipes { stdin: text(stdin), stdout: text(stdout), stderr: text(stderr), terminal };
        Ok((ends, pipes))
    }

    /// The ends one by one, and what takes the folder away when it is dropped.
    pub fn split(self) -> (Sender, Receiver, Receiver, Folder) {
        let Self { stdin, stdout, stderr, folder } = self;
        (stdin, stdout, stderr, folder)
    }
}

/// A folder that is removed when it is not needed any more.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // It is on a tmpfs; what is left is gone with the boot.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn kinds(spec: &Spec) -> Vec<&str> {
        spec.linux.namespaces.iter().map(|namespace| namespace.kind.as_str()).collect()
    }

    #[test]
    fn a_profile_says_how_much_is_seen_and_must_be_said() {
        assert_eq!(Sees::of(Profile::Privileged).expect("known"), Sees::Machine);
        assert_eq!(Sees::of(Profile::HostNs).expect("known"), Sees::Processes);
        assert_eq!(Sees::of(Profile::Unspecified).expect_err("none").code(), tonic::Code::InvalidArgument);
        let image =
            ImageConfig { entrypoint: vec!["/sh".into()], cmd: vec!["-i".into()], ..ImageConfig::default() };
        let spec = |sees| spec("debug-1", &image, sees, &[], &HashMap::new(), true, &["CAP_SYS_BOOT"]);
        let machine = spec(Sees::Machine);
        assert!(kinds(&machine).contains(&"pid") && !kinds(&machine).contains(&"network"));
        assert!(!kinds(&spec(Sees::Processes)).contains(&"pid"));
        assert_eq!(machine.process.args, ["/sh", "-i"]);
        assert!(machine.process.terminal);
        assert!(!machine.process.capabilities.effective.contains(&"CAP_SYS_BOOT".to_owned()));
        assert!(machine.mounts.iter().any(|mount| mount.destination == "/host" && mount.source == "/"));
        assert_eq!(machine.linux.cgroups_path, "/system/debug/debug-1");
    }

    #[test]
    fn arguments_follow_the_entry_point_of_the_image() {
        let image =
            ImageConfig { entrypoint: vec!["/sh".into()], cmd: vec!["-i".into()], ..ImageConfig::default() };
        let environment = HashMap::from([("A".to_owned(), "b".to_owned())]);
        let spec =
            spec("debug-2", &image, Sees::Machine, &["-c".into(), "ls".into()], &environment, false, &[]);
        assert_eq!(spec.process.args, ["/sh", "-c", "ls"]);
        assert!(spec.process.env.contains(&"A=b".to_owned()));
    }

    #[test]
    fn a_session_has_a_bound_that_a_client_can_only_lower() {
        let of = |text: &str| time(&HashMap::from([(TIMEOUT.to_owned(), text.to_owned())])).ok();
        assert_eq!(time(&HashMap::new()).ok(), Some(TIME));
        assert_eq!(of("90s"), Some(Duration::from_secs(90)));
        for refused in ["0s", "2h", "soon", ""] {
            assert_eq!(of(refused), None, "{refused}");
        }
    }

    #[tokio::test]
    async fn what_goes_into_a_pipe_comes_out_and_the_folder_goes_with_its_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ends, pipes) = Ends::make_in(&folder.path().join("a"), false).expect("pipes");
        let (mut stdin, mut stdout, _, place) = ends.split();
        let mut input = fs::OpenOptions::new().read(true).open(&pipes.stdin).expect("the container's end");
        stdin.write_all(b"in").await.expect("written");
        let mut bytes = [0; 2];
        input.read_exact(&mut bytes).expect("read");
        assert_eq!(&bytes, b"in");
        let mut output = fs::OpenOptions::new().write(true).open(&pipes.stdout).expect("the container's end");
        output.write_all(b"out").expect("written");
        drop(output);
        let mut text = Vec::new();
        stdout.read_to_end(&mut text).await.expect("read to its end");
        assert_eq!(text, b"out");
        drop(place);
        assert!(!folder.path().join("a").exists());
    }
}
