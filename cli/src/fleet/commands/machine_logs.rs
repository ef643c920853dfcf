//! `fleet machine-logs`: what machines sent to the manager.

use clap::{Args, ValueEnum};
use corten_api::management::MachineLogsRequest;
use serde_json::Value;

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::fleet::answer::{Answered as _, refused};

/// Print the log of a machine: of its kernel and services.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet machine-logs 4c4c4544-0042-3510-8057-b9c04f4a4d33 --tail 20 -f --log-format dmesg"
)]
pub struct MachineLogs {
    /// UUID of the machine.
    #[arg(value_name = "MACHINE")]
    machine: String,
    /// Go on with what comes.
    #[arg(short, long)]
    follow: bool,
    /// Lines from the end; -1 means all.
    #[arg(long, default_value_t = -1, value_name = "LINES", allow_negative_numbers = true)]
    tail: i32,
    /// How lines are printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
}

/// How lines of a log are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// As the machine sent them, JSON.
    #[default]
    Raw,
    /// Time, level and text.
    Omni,
    /// As a machine prints the log of its kernel.
    Dmesg,
}

impl Command for MachineLogs {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let object = format!("cannot read the log of the machine {}", self.machine);
        let manager = cx.manager().await?;
        let request =
            MachineLogsRequest { machine_id: self.machine, follow: self.follow, tail_lines: self.tail };
        let mut stream = manager.management().machine_logs(request).await.answered(&object)?;
        while let Some(data) = stream.message().await.map_err(refused).or_fail(&object)? {
            let text = String::from_utf8_lossy(&data.bytes);
            let lines = text.lines().filter(|line| !line.is_empty());
            let shown: String = lines.map(|line| show(line, self.log_format) + "\n").collect();
            cx.print(shown)?;
        }
        Ok(())
    }
}

/// A line of a log; one that is no JSON stays as it is.
fn show(line: &str, format: LogFormat) -> String {
    let parsed: Option<Value> = serde_json::from_str(line).ok().filter(Value::is_object);
    let Some(value) = parsed.filter(|_| format != LogFormat::Raw) else { return line.to_owned() };
    let text = |key: &str| match &value[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (time, level, message) = (text("talos-time"), text("talos-level"), text("msg"));
    let source = [text("talos-service"), text("facility")].into_iter().find(|text| !text.is_empty());
    let source = source.unwrap_or_default();
    match format {
        LogFormat::Dmesg => format!("{source}: {level}: [{time}]: {}", message.trim_end()),
        LogFormat::Raw | LogFormat::Omni => format!("{time} [{level}] {source}: {}", message.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = r#"{"msg":"link is up\n","talos-time":"2026-09-21T14:13:20.5Z","talos-level":"info","facility":"kern","seq":7}"#;

    #[test]
    fn lines_are_shown_as_one_wants_them() {
        assert_eq!(show(KERNEL, LogFormat::Raw), KERNEL);
        assert_eq!(show(KERNEL, LogFormat::Omni), "2026-09-21T14:13:20.5Z [info] kern: link is up");
        assert_eq!(show(KERNEL, LogFormat::Dmesg), "kern: info: [2026-09-21T14:13:20.5Z]: link is up");
    }

    #[test]
    fn what_is_no_json_stays() {
        for line in ["plain text", "[1, 2]", "{"] {
            assert_eq!(show(line, LogFormat::Omni), line);
        }
    }

    #[test]
    fn never_panics_on_any_line() {
        bolero::check!().for_each(|input: &[u8]| {
            let _ = show(&String::from_utf8_lossy(input), LogFormat::Dmesg);
        });
    }
}
