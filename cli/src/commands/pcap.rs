//! `pcap`: packets of a machine's link.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use corten_api::common::Data;
use corten_api::machine::{BpfInstruction, PacketCaptureRequest};
use tonic::Streaming;

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::pcap::{Reader, line};
use crate::units;

/// Stands for standard output.
const STANDARD_OUTPUT: &str = "-";

/// Capture packets of a machine's link.
///
/// Packets are printed as lines, or written as they are with --output. They come over the network themselves: leave out
/// port 50000 when you look at the link that this connection uses.
///
/// A filter is given as the instructions that the kernel runs, not as an expression; tcpdump makes them of one:
/// --bpf-filter "$(tcpdump -dd -y EN10MB 'tcp and not port 50000')". Tell it what packets begin with: EN10MB for
/// Ethernet links, RAW for WireGuard links and others without hardware addresses.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten pcap -i eth0
  corten pcap -i eth0 --duration 30s -o eth0.pcap
  corten pcap -i eth0 -o - | tcpdump -vvr -")]
pub struct Pcap {
    /// The link.
    #[arg(short, long, default_value = "eth0", value_name = "LINK")]
    interface: String,
    /// Also capture what is meant for other machines.
    #[arg(long)]
    promiscuous: bool,
    /// Bytes of each packet that are wanted.
    #[arg(short, long, default_value_t = 65536, value_name = "BYTES")]
    snaplen: u32,
    /// Write the capture in pcap format to this file; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only packets that pass this filter: instructions as `tcpdump -dd` prints them.
    #[arg(long, default_value = "", hide_default_value = true, value_parser = filter, value_name = "INSTRUCTIONS")]
    bpf_filter: Filter,
    /// End after this long; 0s means never.
    #[arg(long, default_value = "0s", value_parser = units::parse_duration, value_name = "DURATION")]
    duration: Duration,
}

/// A filter as requests carry it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Filter(Vec<BpfInstruction>);

/// Reads instructions: `{ 0x28, 0, 0, 0x0000000c },`, one in each line.
fn filter(text: &str) -> Result<Filter, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let read = |line: &str| {
        instruction(line).ok_or_else(|| {
            format!(
                "{line:?} is no instruction such as {{ 0x28, 0, 0, 0x0000000c }}; `tcpdump -dd` makes them"
            )
        })
    };
    lines.map(read).collect::<Result<_, _>>().map(Filter)
}

fn instruction(line: &str) -> Option<BpfInstruction> {
    let inner = line.trim_end_matches(',').trim_end().strip_prefix('{')?.strip_suffix('}')?;
    let numbers: Vec<u32> = inner.split(',').map(|word| number(word.trim())).collect::<Option<_>>()?;
    let [op, jt, jf, k] = numbers.try_into().ok()?;
    Some(BpfInstruction { op, jt, jf, k })
}

fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// Where packets go.
enum Output<'a> {
    Lines(&'a Cx, Reader),
    Standard(&'a Cx),
    File(File),
}

impl<'a> Output<'a> {
    fn open(cx: &'a Cx, path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            None => Ok(Self::Lines(cx, Reader::default())),
            Some(path) if path == Path::new(STANDARD_OUTPUT) => Ok(Self::Standard(cx)),
            Some(path) => {
                let file = File::create(path).or_fail(format!("cannot write {}", path.display()))?;
                Ok(Self::File(file))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Lines(cx, reader) => {
                let packets = reader.push(bytes).or_fail("cannot read the capture")?;
                cx.print(packets.iter().map(|packet| line(packet) + "\n").collect::<String>())
            }
            Self::Standard(cx) => cx.print(bytes),
            Self::File(file) => file.write_all(bytes).or_fail("cannot write the capture"),
        }
    }
}

async fn receive(mut stream: Streaming<Data>, mut output: Output<'_>, object: &str) -> Result<(), Failure> {
    while let Some(data) = stream.message().await.map_err(Cause::from).or_fail(object)? {
        output.write(&data.bytes)?;
    }
    Ok(())
}

impl Command for Pcap {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let node = cx.targets()?.one("capture packets")?;
        let object = format!("cannot capture packets of {} on {}", self.interface, node.name);
        let request = PacketCaptureRequest {
            interface: self.interface,
            promiscuous: self.promiscuous,
            snap_len: self.snaplen,
            bpf_filter: self.bpf_filter.0,
        };
        let stream = node.client.machine().packet_capture(request).await.or_fail(&object)?.into_inner();
        let receive = receive(stream, Output::open(cx, self.output.as_deref())?, &object);
        match self.duration {
            Duration::ZERO => receive.await,
            duration => tokio::time::timeout(duration, receive).await.unwrap_or(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_what_tcpdump_prints() {
        let text = "{ 0x28, 0, 0, 0x0000000c },\n{ 0x15, 0, 1, 0x00000800 },\n\n{ 0x6, 0, 0, 0x00040000 },\n";
        let instruction = |op, jt, jf, k| BpfInstruction { op, jt, jf, k };
        let expected =
            vec![instruction(0x28, 0, 0, 12), instruction(0x15, 0, 1, 0x800), instruction(6, 0, 0, 0x4_0000)];
        assert_eq!(filter(text), Ok(Filter(expected)));
        assert_eq!(filter(" "), Ok(Filter::default()));
        for wrong in ["tcp port 80", "{ 0x28, 0, 0 },", "{ 0x28, 0, 0, 0xz },", "{ 1, 2, 3, 4, 5 }"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}
