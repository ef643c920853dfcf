//! This end of the tunnel: who does TCP.
//!
//! ```text
//! auto ─▶ the namespace, if the host allows it ─▶ kernel
//!                    ╰─ refused: a warning with the cause ─▶ user space
//! ```

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use corten_base::{Task, chain, spawn};
use tokio::io::unix::AsyncFd;

use crate::device::Device;
use crate::line::Line;
use crate::stream::{TunnelListener, TunnelStream};
use crate::tunnel::{Peer, TunnelOptions};
use crate::user::UserStack;

/// Largest packet, bytes.
const BUFFER: usize = 2048;
/// After a failed read, so that a broken link does not take the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is to do TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StackChoice {
    /// The kernel where the host allows a namespace with a TUN device, and a stack in user space elsewhere.
    #[default]
    Auto,
    /// The kernel; without a namespace there is no tunnel.
    Kernel,
    /// A stack in user space.
    UserSpace,
}

/// Who does TCP.
#[derive(Debug)]
pub enum End {
    /// The kernel, in a namespace.
    Kernel(Kernel),
    /// A stack for each machine.
    User(UserStack),
}

/// The namespace with its packets.
#[derive(Debug)]
pub struct Kernel {
    device: Device,
    packets: Arc<AsyncFd<File>>,
    _task: Task,
}

impl End {
    /// Opens the end that the options ask for.
    pub async fn open(options: &TunnelOptions, line: &Arc<Line>) -> io::Result<Self> {
        match options.stack {
            StackChoice::UserSpace => Ok(Self::user(options, line)),
            StackChoice::Kernel => Ok(Self::Kernel(Kernel::open(options, line).await?)),
            StackChoice::Auto => Ok(match Kernel::open(options, line).await {
                Ok(kernel) => Self::Kernel(kernel),
                Err(error) => {
                    tracing::warn!(
                        cause = chain(&error),
                        "the host does not allow the kernel's TCP for the tunnel: a stack in user space does it, with \
                         the same results and at the cost of more time and memory for each connection"
                    );
                    Self::user(options, line)
                }
            }),
        }
    }

    fn user(options: &TunnelOptions, line: &Arc<Line>) -> Self {
        let line = Arc::clone(line);
        let outlet = Box::new(move |packet| line.send(packet));
        Self::User(UserStack::new(options.address, options.rng.clone(), outlet))
    }

    /// Takes packets of machines. What the kernel does not take now is lost, as on any line.
    pub fn deliver(&self, packets: Vec<BytesMut>) {
        for packet in packets {
            match self {
                Self::Kernel(kernel) => {
                    let mut link = kernel.packets.get_ref();
                    let _ = link.write(&packet);
                }
                Self::User(stack) => stack.receive(packet),
            }
        }
    }

    /// Connects to a machine.
    pub async fn connect(&self, to: SocketAddrV6) -> io::Result<TunnelStream> {
        match self {
            Self::Kernel(kernel) => kernel.device.connect(to).await.map(TunnelStream::from),
            Self::User(stack) => stack.connect(to).await.map(TunnelStream::from),
        }
    }

    /// Listens on our address.
    pub async fn listen(&self, port: u16) -> io::Result<TunnelListener> {
        match self {
            Self::Kernel(kernel) => kernel.device.listen(port).await.map(TunnelListener::from),
            Self::User(stack) => stack.listen(port).map(TunnelListener::from),
        }
    }

    /// Ends what a machine has that is forgotten. The kernel's connections end by their own signs of life.
    pub fn remove_peer(&self, peer: &Peer) {
        if let Self::User(stack) = self {
            stack.remove_peer(peer.address);
        }
    }
}

impl Kernel {
    async fn open(options: &TunnelOptions, line: &Arc<Line>) -> io::Result<Self> {
        let device = Device::start(&options.program, options.address).await?;
        #[expect(deprecated, reason = "the replacement is unsafe; a File owns one descriptor for life")]
        let packets = Arc::new(AsyncFd::new(device.packets().try_clone()?)?);
        let task = spawn("tunnel packets", packets_out(Arc::clone(&packets), Arc::clone(line)));
        Ok(Self { device, packets, _task: task })
    }
}

/// Takes packets from the link.
async fn packets_out(packets: Arc<AsyncFd<File>>, line: Arc<Line>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let Ok(mut ready) = packets.readable().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match ready.try_io(|link| link.get_ref().read(&mut buffer)) {
            Ok(Ok(length)) => line.send(BytesMut::from(buffer.get(..length).unwrap_or_default())),
            Ok(Err(error)) => {
                tracing::debug!(error = %error, "a packet could not be read from the tunnel's link");
                tokio::time::sleep(PAUSE).await;
            }
            // Not ready after all.
            Err(_) => {}
        }
    }
}
