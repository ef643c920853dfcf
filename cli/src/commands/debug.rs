//! `debug`: a container for looking at a machine.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use corten_api::common::Data;
use corten_api::machine::debug_container_run_request::Request as Input;
use corten_api::machine::debug_container_run_request_spec::Profile;
use corten_api::machine::debug_container_run_response::Resp;
use corten_api::machine::image_service_import_request::Request as Import;
use corten_api::machine::image_service_pull_response::Response as Pulled;
use corten_api::machine::{
    DebugContainerRunRequest, DebugContainerRunRequestSpec, DebugContainerTerminalResize,
    ImageServiceImportRequest, ImageServicePullRequest,
};
use futures::StreamExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::image::{Place, tell};
use crate::command::Execute;
use crate::connect::Node;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::stream::printed;
use crate::terminal::{self, Raw};

/// What is read of an archive or of the keyboard at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces on their way.
const PIECES_MAX: usize = 8;
const SIGINT: i32 = 2;
/// Variable by which the machine is asked for less time.
const TIMEOUT: &str = "DEBUG_TIMEOUT";

/// Run a container on a machine to find out what is wrong with it.
///
/// The image must be signed by a key that the machine trusts for this: an EtcFileConfig document named
/// debug/keys/NAME.pem with a public key, as `cosign generate-key-pair` makes it. The container sees the machine's files
/// below /host. It ends with its program, when you go away, and after half an hour at the latest, or --timeout. The
/// machine says from then on that it was touched: `corten get touched`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten debug -n 10.5.0.2 registry.example.com/tools:v1
  corten debug -n 10.5.0.2 ./tools.tar --args ls,/host/var/log
  corten debug -n 10.5.0.2 registry.example.com/tools:v1 --profile host-ns --timeout 5m")]
pub struct Debug {
    /// Reference of an image, or a file with an archive of one.
    image: String,
    /// Arguments of the image's program.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "ARGUMENT")]
    args: Vec<String>,
    /// Where the image is kept meanwhile.
    #[arg(long, value_enum, default_value_t = Place::Inmem)]
    namespace: Place,
    /// How much of the machine the container sees.
    #[arg(long, value_enum, default_value_t)]
    profile: Sees,
    /// End it after this long, an hour at most.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
}

/// How much of a machine is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Sees {
    /// Devices, files and the network.
    #[default]
    Privileged,
    /// Also processes.
    HostNs,
}

impl Execute for Debug {
    async fn execute(self, cx: &Cx) -> ExitCode {
        match self.run(cx).await {
            // A thread may still wait for the keyboard; it must not keep the program from ending.
            Ok(status) => std::process::exit(status),
            Err(failure) => {
                if !failure.is_silent {
                    cx.say(failure.render().trim_end());
                }
                ExitCode::FAILURE
            }
        }
    }
}

impl Debug {
    /// The exit status of the container.
    async fn run(self, cx: &Cx) -> Result<i32, Failure> {
        let node = cx.targets()?.one("debug")?;
        let image =
            self.provide(cx, &node).await.or_fail(format!("cannot bring {} to {}", self.image, node.name))?;
        let spec = self.spec(image, terminal::is_there());
        attach(cx, &node, spec).await.or_fail(format!("cannot debug {}", node.name))
    }

    /// Brings the image to the machine and gives its name there.
    async fn provide(&self, cx: &Cx, node: &Node) -> Result<String, Cause> {
        let containerd = self.namespace.wire();
        if Path::new(&self.image).is_file() {
            let request = archive(Path::new(&self.image), containerd)?;
            return Ok(node.client.image().import(request).await?.into_inner().name);
        }
        let request = ImageServicePullRequest { containerd, image_ref: self.image.clone() };
        let mut stream = node.client.image().pull(request).await?.into_inner();
        let mut layers = std::collections::BTreeMap::new();
        while let Some(message) = stream.message().await? {
            match message.response {
                Some(Pulled::Name(name)) => return Ok(name),
                Some(Pulled::PullProgress(progress)) => tell(cx, &node.name, &progress, &mut layers),
                None => {}
            }
        }
        Err(Cause::new("the machine ended the transfer without a result"))
    }

    fn spec(self, image: String, tty: bool) -> DebugContainerRunRequestSpec {
        let profile = match self.profile {
            Sees::Privileged => Profile::Privileged,
            Sees::HostNs => Profile::HostNs,
        };
        let mut env = HashMap::new();
        if let Some(timeout) = self.timeout {
            env.insert(TIMEOUT.to_owned(), timeout);
        }
        if tty && let Ok(kind) = std::env::var("TERM") {
            env.insert("TERM".to_owned(), kind);
        }
        DebugContainerRunRequestSpec {
            containerd: self.namespace.wire(),
            image_name: image,
            args: self.args,
            env,
            profile: profile.into(),
            tty,
        }
    }
}

/// An archive as the machine takes it.
fn archive(
    path: &Path,
    containerd: Option<corten_api::common::ContainerdInstance>,
) -> Result<impl futures::Stream<Item = ImageServiceImportRequest> + use<>, Cause> {
    let mut file = std::fs::File::open(path)?;
    let first =
        containerd.map(|instance| ImageServiceImportRequest { request: Some(Import::Containerd(instance)) });
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let mut piece = vec![0; PIECE_BYTES];
    tokio::task::spawn_blocking(move || {
        // What cannot be read ends the archive, which the machine then finds to be cut short.
        while let Ok(read @ 1..) = file.read(&mut piece) {
            let bytes = Bytes::copy_from_slice(piece.get(..read).unwrap_or_default());
            let request = Some(Import::ImageChunk(Data { bytes, ..Data::default() }));
            if sender.blocking_send(ImageServiceImportRequest { request }).is_err() {
                break;
            }
        }
    });
    Ok(futures::stream::iter(first).chain(ReceiverStream::new(receiver)))
}

/// Talks to the container until it ends; its exit status.
async fn attach(cx: &Cx, node: &Node, spec: DebugContainerRunRequestSpec) -> Result<i32, Cause> {
    let tty = spec.tty;
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let say = |request: Input| DebugContainerRunRequest { request: Some(request) };
    sender.send(say(Input::Spec(spec))).await.map_err(|_| Cause::new("the connection is gone"))?;
    let responses = node.client.debug().container_run(ReceiverStream::new(receiver)).await?;
    let mut responses = responses.into_inner();
    let _raw = tty.then(Raw::enter).transpose()?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    if tty {
        resize(&sender).await;
    }
    let keyboard = sender.clone();
    tokio::task::spawn_blocking(move || type_on(&keyboard));
    let control = sender.downgrade();
    drop(sender);
    loop {
        tokio::select! {
            // Every arm is cancel safe: a message is whole or not there, and signals count up.
            message = responses.message() => match message?.map(|message| message.resp) {
                Some(Some(Resp::StdoutData(bytes))) => printed(cx.print(bytes))?,
                Some(Some(Resp::ExitCode(status))) => return Ok(status),
                Some(None) => {}
                None => return Err(Cause::new("the machine ended the session without a result")),
            },
            () = happened(&mut resized), if tty => {
                if let Some(sender) = control.upgrade() { resize(&sender).await; }
            }
            () = happened(&mut interrupted) => {
                if let Some(sender) = control.upgrade() { let _ = sender.send(say(Input::Signal(SIGINT))).await; }
            }
        }
    }
}

async fn happened(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Tells the container how large the terminal is.
async fn resize(sender: &mpsc::Sender<DebugContainerRunRequest>) {
    let Some((width, height)) = terminal::size() else { return };
    let request = Some(Input::TermResize(DebugContainerTerminalResize { width, height }));
    // A session that is over has no terminal.
    let _ = sender.send(DebugContainerRunRequest { request }).await;
}

/// Passes on what is typed until there is no more.
fn type_on(sender: &mpsc::Sender<DebugContainerRunRequest>) {
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = std::io::stdin().read(&mut piece) {
        let bytes = Bytes::copy_from_slice(piece.get(..read).unwrap_or_default());
        let request = Some(Input::StdinData(bytes));
        if sender.blocking_send(DebugContainerRunRequest { request }).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debug(profile: Sees, timeout: Option<&str>) -> Debug {
        Debug {
            image: "r/tools:v1".into(),
            args: vec!["sh".into()],
            namespace: Place::Inmem,
            profile,
            timeout: timeout.map(str::to_owned),
        }
    }

    #[test]
    fn a_request_says_what_is_wanted() {
        let spec = debug(Sees::HostNs, Some("5m")).spec("r/tools@sha256:1".into(), false);
        assert_eq!((spec.profile(), spec.tty), (Profile::HostNs, false));
        assert_eq!(
            (spec.image_name.as_str(), spec.args.as_slice()),
            ("r/tools@sha256:1", &["sh".to_owned()][..])
        );
        assert_eq!(spec.env.get(TIMEOUT).map(String::as_str), Some("5m"));
        let spec = debug(Sees::Privileged, None).spec("r/tools@sha256:1".into(), false);
        assert!(spec.env.is_empty() && spec.profile() == Profile::Privileged);
    }

    #[tokio::test]
    async fn an_archive_is_named_first_and_then_sent_in_pieces() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        std::io::Write::write_all(&mut file, &vec![7; PIECE_BYTES + 1]).expect("written");
        let requests = archive(file.path(), Place::Inmem.wire()).unwrap_or_else(|_| panic!("it can be read"));
        let requests: Vec<_> = requests.collect().await;
        assert!(matches!(requests[0].request, Some(Import::Containerd(_))));
        let sizes = requests[1..].iter().map(|request| match &request.request {
            Some(Import::ImageChunk(data)) => data.bytes.len(),
            _ => 0,
        });
        assert_eq!(sizes.sum::<usize>(), PIECE_BYTES + 1);
    }
}
