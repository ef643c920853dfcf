//! The command line: `serve`, and the children that hold the tunnel's namespace and sockets that are too many for it.
//!
//! ```text
//! corten-fleet serve [flags]            flags, files ─▶ Settings ─▶ effects ─▶ serve; 0 when told to stop, else 1
//! corten-fleet tunnel-device ADDRESS    what `serve` starts itself
//! corten-fleet tunnel-keeper            the same
//! ```

use std::path::{PathBuf, absolute};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use corten_base::{Clock, Rng, chain};
use corten_fleet_settings::{File, Loaded, Settings, arguments, load, paths as config_paths};
use corten_fleet_tunnel::{CHILD, KEEPER, child, keeper};
use corten_sys::memory;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;
use crate::paths::Paths;
use crate::versions::Versions;
use crate::wire::Base;
use crate::{effects, logging, notices, serve};

const SERVE: &str = "serve";
const READY_FILE: &str = "ready-file";
const VERSIONS: &str = "versions";
/// Threads that work at the same time; the manager waits more than it computes.
const THREADS_MAX: usize = 4;
/// Threads for what blocks: disks.
const BLOCKING_THREADS_MAX: usize = 64;
/// For calls that block when everything else has ended.
const LAST_CALLS_MAX: Duration = Duration::from_secs(5);

/// Between two times that free memory is given back.
const GIVEN_BACK_EVERY: Duration = Duration::from_secs(60);
const ABOUT: &str = "Manage machines and clusters of many places";
const SERVE_ABOUT: &str = "Run the manager until it is told to stop.

Without any flag it keeps everything below _out/, makes the key of a first administrator there on the \
first start, and prints the two commands that come next. Every flag is also a key of a YAML file that \
--config-path names; a flag counts over the files. SIGTERM and SIGINT end the manager, and what was \
acknowledged is on the disk then.

It needs no privilege, but a host that lets it make a user namespace and has /dev/net/tun: the tunnels to \
machines end in a namespace of its own.";
const SERVE_EXAMPLES: &str = "Examples:
  corten-fleet serve
  corten-fleet serve --config-path /etc/corten/fleet.yaml --log-level debug
  corten-fleet serve --advertised-api-url https://fleet.example:8080 --own-certificate \\
      --machine-api-advertised-url http://fleet.example:8090 \\
      --siderolink-wireguard-advertised-addr 192.0.2.1:50180
  corten-fleet serve --ready-file /run/corten/fleet.json --versions more-versions.yaml

Files, beside the store that --storage-path names:
  fleet.redb          resources, encrypted with the key that --storage-key-file names: keep a copy of both
  logs/  audit/       logs of machines and the audit log, encrypted with keys that are in the store
  tls/                with --own-certificate: clients trust tls/ca.crt
  discovery.snapshot  what members of clusters told the discovery service";

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // The children must not have a second thread: this comes first.
    match words.next() {
        Some(word) if word == CHILD => {
            let address = words.next().and_then(|word| word.into_string().ok()).unwrap_or_default();
            return if child(&address).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Some(word) if word == KEEPER => return ended_keeper(keeper()),
        _ => {}
    }
    let matches = command().get_matches();
    let ended = match matches.subcommand() {
        Some((SERVE, matches)) => run(matches),
        _ => Ok(()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("corten-fleet: {}", chain(&failure));
            ExitCode::FAILURE
        }
    }
}

/// A keeper's end, which its manager may have caused.
fn ended_keeper(ended: std::io::Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corten-fleet: a keeper of connections cannot go on: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    let path = |name: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf))
    };
    let ready_file = path(READY_FILE)
        .help("File that is written when the manager serves, with its addresses, and removed when it ends");
    let versions = path(VERSIONS)
        .action(ArgAction::Append)
        .help("Table with more versions of Talos and of Kubernetes to offer; may be repeated");
    let serve = Command::new(SERVE)
        .about("Run the manager until it is told to stop")
        .long_about(SERVE_ABOUT)
        .after_long_help(SERVE_EXAMPLES)
        .args([ready_file, versions])
        .args(arguments());
    Command::new("corten-fleet")
        .version(corten_base::version::CORTEN)
        .about(ABOUT)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(120)
        .subcommand(serve)
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    // Each thread that writes to the disk would keep what others have given back, and so would the heap what thousands
    // of machines needed to join.
    memory::keep_small(GIVEN_BACK_EVERY, memory::trim);
    let files = config_paths(matches).iter().map(|path| File::read(path)).collect::<Result<Vec<_>, _>>()?;
    let Loaded { settings, warnings, changed } = load(&files, matches)?;
    let unheeded = effects::judge(&changed).map_err(Failure::Effects)?;
    logging::init(&settings);
    for text in warnings.iter().chain(&unheeded) {
        tracing::warn!("{text}");
    }
    for text in notices::notices(&settings) {
        tracing::info!("{text}");
    }
    let base = base(settings, &versions(matches))?;
    let ready_file = matches.get_one::<PathBuf>(READY_FILE).map(absolute).transpose().map_err(no_folder)?;
    raise_descriptors();
    let runtime = runtime()?;
    let ended = runtime.block_on(serve::serve(&base, ready_file.as_deref()));
    runtime.shutdown_timeout(LAST_CALLS_MAX);
    ended
}

/// Tables of versions, in the order in which they were named.
fn versions(matches: &ArgMatches) -> Vec<PathBuf> {
    matches.get_many::<PathBuf>(VERSIONS).into_iter().flatten().cloned().collect()
}

fn base(mut settings: Settings, versions: &[PathBuf]) -> Result<Base, Failure> {
    if let Some(account) = &mut settings.auth.initial_service_account {
        account.key_path = absolute(&account.key_path).map_err(no_folder)?;
    }
    Ok(Base {
        paths: Paths::of(&settings).map_err(no_folder)?,
        versions: Versions::load(versions)?,
        program: std::env::current_exe()
            .map_err(|source| Failure::Host { what: "find its own program", source })?,
        settings,
        clock: Clock::system(),
        rng: Rng::kernel(),
    })
}

const fn no_folder(source: std::io::Error) -> Failure {
    Failure::Host { what: "tell in which folder it is", source }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    builder.worker_threads(processors.min(THREADS_MAX)).max_blocking_threads(BLOCKING_THREADS_MAX);
    builder.build().map_err(|source| Failure::Host { what: "start threads", source })
}

/// Every machine has a few connections: as many as the host allows.
fn raise_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "few machines have room: the number of descriptors cannot be raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(line: &[&str]) -> ArgMatches {
        let words = ["corten-fleet", SERVE].into_iter().chain(line.iter().copied());
        let matches = command().try_get_matches_from(words).expect("a command");
        matches.subcommand_matches(SERVE).expect("a subcommand").clone()
    }

    #[test]
    fn clap_finds_nothing_wrong_with_the_command() {
        command().debug_assert();
    }

    #[test]
    fn the_help_teaches() {
        let mut command = command();
        let serve = command.find_subcommand_mut(SERVE).expect("a subcommand");
        let help = serve.render_long_help().to_string();
        for part in ["Without any flag", "--ready-file <FILE>", "--bind-addr <", "tls/ca.crt", "Examples:"] {
            assert!(help.contains(part), "{part}\n{help}");
        }
    }

    #[test]
    fn flags_and_files_lead_to_what_everything_is_made_from() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("more.yaml");
        std::fs::write(&file, "kubernetes: [1.99.0]\n").expect("written");
        let name = file.display().to_string();
        let matches = matches(&["--name=steel", "--versions", &name, "--versions", &name]);
        let loaded = load(&[], &matches).expect("a configuration");
        assert_eq!(loaded.settings.account.name, "steel");
        let files = versions(&matches);
        assert_eq!(files, [file.clone(), file]);
        let base = base(loaded.settings, &files).expect("everything");
        let account = base.settings.auth.initial_service_account.expect("an account");
        assert!(account.key_path.is_absolute() && base.program.is_absolute());
    }

    #[test]
    fn what_somebody_relies_on_and_nothing_does_is_refused() {
        let matches = matches(&["--etcd-backup-local-path=/backups"]);
        let failure = run(&matches).expect_err("no start").to_string();
        assert!(failure.contains("cause: etcdBackup.localPath: this program makes no backups"), "{failure}");
    }
}
