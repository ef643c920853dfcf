//! QEMU's control protocol: JSON lines over a Unix socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const ANSWER_MAX: Duration = Duration::from_secs(60);
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A control connection.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and agrees on no capabilities.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(ANSWER_MAX)).context("cannot bound the waiting for QEMU")?;
        let mut qmp = Self { stream: BufReader::new(stream) };
        qmp.read()?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and gives its result; events in between are passed over.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{line}").context("cannot talk to QEMU")?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
        }
    }

    /// Runs a command of the human monitor, such as `savevm`, and gives what it printed.
    pub fn monitor(&mut self, command: &str) -> Result<String> {
        let printed = self.execute("human-monitor-command", json!({ "command-line": command }))?;
        Ok(printed.as_str().unwrap_or_default().to_owned())
    }

    /// Presses the power button.
    pub fn press_power_button(&mut self) -> Result<()> {
        self.execute("system_powerdown", json!({})).map(drop)
    }

    /// Presses the reset button.
    pub fn reset(&mut self) -> Result<()> {
        self.execute("system_reset", json!({})).map(drop)
    }

    /// Sends every processor an interrupt that cannot be masked, as the button for it on a server does.
    pub fn interrupt(&mut self) -> Result<()> {
        self.execute("inject-nmi", json!({})).map(drop)
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.stream.by_ref().take(LINE_BYTES_MAX).read_line(&mut line).context("QEMU does not answer")?;
        serde_json::from_str(&line).context("QEMU's answer makes no sense")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_the_protocol() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let say = |text: &str| writeln!(&stream, "{text}").unwrap();
                say(r#"{"QMP": {"version": {}, "capabilities": []}}"#);
                assert!(lines.next().unwrap().unwrap().contains("qmp_capabilities"));
                say(r#"{"return": {}}"#);
                assert!(lines.next().unwrap().unwrap().contains("query-status"));
                say(r#"{"event": "RESET"}"#);
                say(r#"{"return": {"status": "running"}}"#);
                assert!(lines.next().unwrap().unwrap().contains("system_reset"));
                say(r#"{"error": {"class": "GenericError", "desc": "no"}}"#);
            });
            let mut qmp = Qmp::connect(&path).unwrap();
            assert_eq!(qmp.execute("query-status", json!({})).unwrap()["status"], "running");
            assert!(qmp.reset().unwrap_err().to_string().contains("GenericError"));
        });
    }
}
