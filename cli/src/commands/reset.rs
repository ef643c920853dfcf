//! `reset`: takes machines out of their cluster and wipes them.

use clap::{ArgAction, Args, ValueEnum};
use corten_api::machine::{ResetPartitionSpec, ResetRequest, reset_request};

use crate::command::Command;
use crate::connect::{Node, only};
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;
use crate::track::{End, Wait, act};

/// Take machines out of their cluster and wipe them. What is wiped is gone.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten reset -n 10.5.0.3 --reboot
  corten reset -n 10.5.0.3 --system-labels-to-wipe EPHEMERAL --reboot")]
pub struct Reset {
    /// Leave etcd and drain the node first; --graceful=false does without, also when the cluster is broken.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    graceful: bool,
    /// Start again instead of turning off.
    #[arg(long)]
    reboot: bool,
    /// What to wipe.
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    wipe_mode: WipeMode,
    /// Wipe only these volumes of the system, such as EPHEMERAL; the others stay.
    #[arg(long, value_delimiter = ',', value_name = "LABEL")]
    system_labels_to_wipe: Vec<String>,
    /// Wipe these disks as well, such as /dev/sdb.
    #[arg(long, value_delimiter = ',', value_name = "DISK")]
    user_disks_to_wipe: Vec<String>,
    #[command(flatten)]
    wait: Wait,
}

/// What a reset wipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum WipeMode {
    /// The system's volumes and the disks that are named.
    #[default]
    All,
    /// The system's volumes.
    SystemDisk,
    /// The disks that are named.
    UserDisks,
}

impl Reset {
    fn request(&self) -> ResetRequest {
        let mode = match self.wipe_mode {
            WipeMode::All => reset_request::WipeMode::All,
            WipeMode::SystemDisk => reset_request::WipeMode::SystemDisk,
            WipeMode::UserDisks => reset_request::WipeMode::UserDisks,
        };
        let partition = |label: &String| ResetPartitionSpec { label: label.clone(), wipe: true };
        ResetRequest {
            graceful: self.graceful,
            reboot: self.reboot,
            system_partitions_to_wipe: self.system_labels_to_wipe.iter().map(partition).collect(),
            user_disks_to_wipe: self.user_disks_to_wipe.clone(),
            mode: mode.into(),
        }
    }

    /// When it is done: a machine that has lost its configuration does not become ready, and knows nobody.
    fn end(&self) -> End {
        let keeps_state = !self.system_labels_to_wipe.is_empty()
            && !self.system_labels_to_wipe.iter().any(|label| label == "STATE");
        if self.reboot && (keeps_state || self.wipe_mode == WipeMode::UserDisks) {
            End::Running
        } else {
            End::Off
        }
    }
}

impl Command for Reset {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let (request, end, wait) = (self.request(), self.end(), &self.wait);
        let request = &request;
        let reset = |node: Node| async move {
            let start = async { Ok(only(node.client.machine().reset(request.clone()).await?)?.actor_id) };
            act(cx, &node, wait, end, start).await
        };
        Ok(cx.targets()?.each("reset", reset).await)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        reset: Reset,
    }

    fn parse(line: &str) -> Reset {
        Line::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}")).reset
    }

    #[test]
    fn a_machine_that_keeps_its_configuration_is_waited_for() {
        assert_eq!(parse("reset --reboot").end(), End::Off);
        assert_eq!(parse("reset --reboot --system-labels-to-wipe EPHEMERAL").end(), End::Running);
        assert_eq!(parse("reset --reboot --system-labels-to-wipe STATE,EPHEMERAL").end(), End::Off);
        assert_eq!(parse("reset --system-labels-to-wipe EPHEMERAL").end(), End::Off);
        let request =
            parse("reset --graceful=false --system-labels-to-wipe EPHEMERAL --user-disks-to-wipe /dev/sdb")
                .request();
        assert!(!request.graceful && request.system_partitions_to_wipe[0].wipe);
        assert_eq!(request.user_disks_to_wipe, ["/dev/sdb"]);
    }
}
