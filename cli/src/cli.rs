//! The tree of commands, and what runs each.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use corten_base::{Clock, Rng};

use crate::command::{Reported, verbs};
use crate::commands::*;
use crate::context::{Cx, Globals};
use crate::failure::Failure;
use crate::fleet;

const LONG_ABOUT: &str = "\
Manage machines that run Corten Linux, and those that run Talos Linux.

Machines have no shell: everything is asked and told over an API. Commands and flags have the names that talosctl gives them.";

const FIRST_STEPS: &str = "\
First steps:
  corten gen config home https://10.5.0.2:6443      secrets and configurations of a new cluster
  corten apply-config -i -n 10.5.0.2 -f FILE        give a blank machine its configuration
  corten config merge talosconfig                   remember how to reach the cluster
  corten config endpoint 10.5.0.2
  corten config node 10.5.0.2
  corten bootstrap                                  start etcd on the first control plane, once
  corten health                                     wait until everything works
  corten kubeconfig                                 and hand over to kubectl

Looking around:
  corten doctor                                     what is wrong, and what to do
  corten services                                   what runs, and is it well
  corten logs -f kubelet                            what it says
  corten get rd                                     all that a machine knows about itself
  corten get members -o yaml

Many clusters, through their manager:
  corten fleet get clusters
  corten fleet cluster template sync -f home.yaml   a cluster as a file

Machines are named with -n, or once and for all with `corten config node`. Results go to standard output, everything \
else to standard error; -o json and -o yaml are for programs.";

/// The whole program.
#[derive(Parser, Debug)]
#[command(name = "corten", version = corten_base::version::CORTEN, about = "Manage machines that run Corten Linux or Talos Linux", long_about = LONG_ABOUT, after_long_help = FIRST_STEPS, subcommand_required = true, arg_required_else_help = true, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    #[command(visible_alias = "apply")]
    ApplyConfig(apply_config::ApplyConfig),
    Bootstrap(bootstrap::Bootstrap),
    #[command(visible_alias = "cg")]
    Cgroups(Reported<cgroups::Cgroups>),
    Completion(completion::Completion),
    Config(config::Config),
    #[command(visible_alias = "c")]
    Containers(Reported<containers::Containers>),
    #[command(visible_alias = "cp")]
    Copy(copy::Copy),
    Debug(debug::Debug),
    #[command(visible_alias = "df")]
    Diskfree(Reported<diskfree::Diskfree>),
    Dmesg(dmesg::Dmesg),
    Doctor(Reported<doctor::Doctor>),
    Edit(edit::Edit),
    Etcd(etcd::Etcd),
    Events(events::Events),
    Fleet(fleet::Fleet),
    #[command(name = "gen")]
    Generate(generate::Generate),
    #[command(visible_alias = "g")]
    Get(get::Get),
    Health(health::Health),
    #[command(visible_alias = "images")]
    Image(image::Image),
    Inspect(inspect::Inspect),
    Kubeconfig(kubeconfig::Kubeconfig),
    #[command(visible_alias = "ls")]
    List(Reported<list::List>),
    Logs(logs::Logs),
    #[command(name = "machineconfig", visible_alias = "mc")]
    MachineConfig(machineconfig::MachineConfig),
    #[command(visible_aliases = ["m", "free"])]
    Memory(Reported<memory::Memory>),
    Meta(meta::Meta),
    #[command(visible_alias = "mount")]
    Mounts(Reported<mounts::Mounts>),
    // As with talosctl, -o means timers here.
    #[command(visible_alias = "ss", mut_arg("format", |format| format.short(None)))]
    Netstat(Reported<netstat::Netstat>),
    Patch(patch::Patch),
    #[command(visible_alias = "tcpdump")]
    Pcap(pcap::Pcap),
    #[command(visible_aliases = ["p", "ps"])]
    Processes(Reported<processes::Processes>),
    #[command(visible_alias = "cat")]
    Read(read::Read),
    Reboot(reboot::Reboot),
    Reset(reset::Reset),
    Restart(restart::Restart),
    Rollback(refusals::Rollback),
    RotateCa(refusals::RotateCa),
    #[command(visible_alias = "services")]
    Service(Reported<service::Service>),
    Shutdown(shutdown::Shutdown),
    Stats(Reported<stats::Stats>),
    Support(support::Support),
    Time(Reported<time::Time>),
    Upgrade(refusals::Upgrade),
    #[command(name = "upgrade-k8s")]
    UpgradeK8s(refusals::UpgradeK8s),
    #[command(visible_alias = "du")]
    Usage(Reported<usage::Usage>),
    Validate(validate::Validate),
    Version(Reported<version::Version>),
    Wipe(wipe::Wipe),
}

/// The tree of commands as data, for documents made from it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the arguments of the process: 0 all done, 1 something failed, 2 wrong arguments.
pub fn main() -> ExitCode {
    let Cli { globals, verb } = Cli::parse();
    let fleet = fleet::Options::default();
    let cx = Cx { globals, fleet, clock: Clock::system(), rng: Rng::kernel() };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(verb.execute(&cx)),
        Err(error) => {
            cx.say(Failure::new("cannot start").because(error).render().trim_end());
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    fn each(command: &Command, path: &str, visit: &mut impl FnMut(&str, &Command)) {
        visit(path, command);
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            each(sub, &format!("{path} {}", sub.get_name()), visit);
        }
    }

    fn built() -> Command {
        let mut command = Cli::command().term_width(100);
        command.build();
        command
    }

    #[test]
    fn every_command_and_argument_has_a_help_text() {
        each(&built(), "corten", &mut |path, command| {
            assert!(command.get_about().is_some(), "{path} has no help text");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{path}: {} has no help text", argument.get_id());
            }
        });
    }

    #[test]
    fn examples_are_commands_that_parse() {
        let mut count = 0;
        each(&built(), "corten", &mut |path, command| {
            let help = command.clone().render_long_help().to_string();
            let lines = help
                .lines()
                .map(str::trim)
                .filter(|line| line.starts_with("corten ") && !line.starts_with("corten [OPTIONS]"));
            for line in lines {
                let line =
                    line.split([',', '|', '>']).next().filter(|_| line.contains(['|', '>'])).unwrap_or(line);
                let words = line
                    .split("   ")
                    .next()
                    .unwrap_or(line)
                    .split_whitespace()
                    .map(|word| word.trim_matches('\''));
                if !line.contains('{') {
                    Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{path}: {line}\n{error}"));
                    count += 1;
                }
            }
        });
        assert!(count > 30, "only {count} examples were found");
    }

    #[test]
    fn help_of_the_whole_tree() {
        let mut text = String::new();
        each(&built(), "corten", &mut |path, command| {
            text += &format!("$ {path} --help\n{}\n", command.clone().render_long_help());
        });
        let trimmed: String = text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        crate::snapshot::check("help", &trimmed);
    }

    #[test]
    fn flags_stand_where_users_of_talosctl_put_them() {
        for line in [
            "corten -n 10.5.0.2,10.5.0.3 -e 10.5.0.2 memory",
            "corten get members -n 10.5.0.2 -n 10.5.0.3 -o yaml --talosconfig x --context y",
            "corten apply -i -n 10.5.0.2 -f c.yaml -m try --timeout 30s --cert-fingerprint a,b",
            "corten service kubelet restart",
            "corten services",
            "corten kubeconfig --merge=false -",
            "corten reboot --wait=false --mode powercycle",
            "corten health --server=false --wait-timeout 1m30s",
            "corten config endpoints 10.5.0.2 10.5.0.3",
            "corten gen config c https://c:6443 --force --with-docs=false --with-examples=false -t controlplane,worker",
            "corten logs kubelet --tail -1 -f",
            "corten meta -n 10.5.0.2 write 0x0a value --insecure",
            "corten image --namespace system ls",
            "corten images list --namespace cri",
            "corten patch machineconfig -p @a -p @b --mode no-reboot",
            "corten ls -lHr -d 2 -t f,d /var",
            "corten cg --preset psi -o json",
            "corten machineconfig gen home https://10.5.0.2:6443 --force",
            "corten image k8s-bundle",
            "corten cp /var/log ./log -n 10.5.0.2",
            "corten debug -n 10.5.0.2 ./tools.tar --args sh,-c,ls --namespace inmem",
            "corten df -i -b",
            "corten doctor 10.5.0.2 10.5.0.3 -o json",
            "corten etcd alarm disarm -n 10.5.0.2",
            "corten etcd remove-member 8e9e05c52164694d",
            "corten reset --graceful=false --reboot --system-labels-to-wipe STATE,EPHEMERAL --wait=false",
            "corten restart -k kube-system/coredns-1:coredns:2f0a",
            "corten support -w 2 -O x.zip --no-encryption -v",
            "corten netstat -axopt -4 --output json",
            "corten ss -lUwv6 -n 10.5.0.2 kube-system/coredns-1",
            "corten pcap -i eth1 --promiscuous -s 128 --duration 10s -o -",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}\n{error}"));
        }
    }
}
