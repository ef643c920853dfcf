//! Tests of the tree of commands: what is typed is understood, and nothing of machines is in the way.

use std::collections::BTreeSet;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::Cli;

/// A line for each command, with its flags as users of `omnictl` type them.
const LINES: &[&str] = &[
    "apply -f resources/ -v -d --context home",
    "audit-log 2026-09-01 2026-09-21 --search x --event-type update_with_conflicts --actor a@example.org",
    "audit-log --since 1h --order-by-field event_type --order-by-dir desc --resource-type T --resource-id i --cluster-id c",
    "audit-log -f",
    "cluster delete home -v -d --destroy-disconnected-machines",
    "cluster lock home",
    "cluster machine delete m1 -f --force-etcd-leave -y -t 10m",
    "cluster machine lock m1",
    "cluster machine unlock m1",
    "cluster status home -q -w 0",
    "cluster template delete -f home.yaml -d --destroy-disconnected-machines",
    "cluster template diff --file home.yaml --allowed-dir .",
    "cluster template export home -o home.yaml -f --include-kernel-args",
    "cluster template export -c home",
    "cluster template render -f home.yaml",
    "cluster template status -f home.yaml -q --wait 1h",
    "cluster template sync -f home.yaml --verbose --dry-run",
    "cluster template validate -f home.yaml",
    "cluster unlock home",
    "c t sync -f home.yaml",
    "config add home --url https://fleet --identity a@example.org --omniconfig x",
    "config context home",
    "config contexts",
    "config identity a@example.org",
    "config info -o json",
    "config merge other",
    "config new file --url grpc://fleet:8080 --identity a@example.org",
    "config url https://fleet",
    "configure machine m1 m2 --siderolink-connection http-tunnel --reset-node-unique-token",
    "configure machine m1 --reset-node-unique-token",
    "delete machineclass large -n default",
    "d configpatches -l omni.sidero.dev/cluster=home",
    "delete machineclasses --all",
    "edit machineclass large --namespace default --dry-run -v",
    "edit machineclasses --selector a=b --id-match-regexp ^x",
    "get machines -n default -o yaml -l a=b,c --id-match-regexp ^4 --watch --insecure-skip-tls-verify",
    "g cluster home -o jsonpath={.metadata.id}",
    "infraprovider create metal -t 24h",
    "infraprovider delete metal",
    "infraprovider list -o json",
    "infraprovider renewkey metal --ttl 24h",
    "ip list",
    "jointoken create lab -t 24h",
    "jointoken delete t1 -f",
    "jointoken kernel-args --token-id t1 --use-grpc-tunnel",
    "jointoken list",
    "jointoken machine-config --token-name lab --use-grpc-tunnel",
    "jointoken make-default t1",
    "jointoken omni-endpoint --token-name lab",
    "jointoken renew t1 --ttl 24h",
    "jointoken revoke t1 --force",
    "jointoken unrevoke t1",
    "jt list -o yaml",
    "kubeconfig out.yaml -c home -f -m=false --force-context-name x --grant-type authcode-keyboard",
    "kubeconfig --cluster home --service-account --user ci --groups a,b --ttl 24h --break-glass",
    "kubeconfig -c home --oidc-cache-base-dir x --oidc-cache-isolation --merge",
    "machine power-on m1",
    "machine shutdown m1",
    "machine-logs m1 -f --tail -1 --log-format omni",
    "l m1",
    "media download iso --arch arm64 --extensions a,b --extra-kernel-args -console --initial-labels k=v --output x",
    "media download iso --pxe --secureboot --talos-version 1.13.8 --use-siderolink-grpc-tunnel",
    "media download rack --format raw --join-token t1 --use-siderolink-grpc-tunnel=false",
    "media list",
    "media preset create rack --arch arm64 --overlay rpi_generic --overlay-options a:b --bootloader uefi --secureboot",
    "media preset delete rack",
    "media preset list -o json",
    "media presets ls",
    "im list",
    "serviceaccount create ci -t 24h -r Reader -u=false",
    "serviceaccount destroy ci",
    "serviceaccount list",
    "serviceaccount renew ci --ttl 24h",
    "sa list",
    "support -c home -O out.zip -v --encryption-recipients a,b --encryption-no-default-recipients",
    "support out.zip -c home --no-encryption",
    "talosconfig out -c home -f -m=false --break-glass",
    "talosconfig --raw --siderov1-keys-dir x",
    "user create a@example.org -r Operator",
    "user delete a@example.org b@example.org",
    "user list",
    "user set-role a@example.org --role Admin",
    "u list",
];

fn fleet() -> clap::Command {
    let mut root = Cli::command();
    root.build();
    root.find_subcommand("fleet").expect("there").clone()
}

/// Paths of the commands that have none below.
fn leaves(command: &clap::Command, path: &str, found: &mut BTreeSet<String>) {
    let mut below = command.get_subcommands().filter(|sub| sub.get_name() != "help").peekable();
    if below.peek().is_none() {
        found.insert(path.trim().to_owned());
    }
    for sub in below {
        leaves(sub, &format!("{path} {}", sub.get_name()), found);
    }
}

#[test]
fn every_command_is_understood_as_its_users_type_it() {
    for line in LINES {
        let words = ["corten", "fleet"].into_iter().chain(line.split(' '));
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}\n{error}"));
    }
}

#[test]
fn every_command_has_a_line_in_that_table() {
    let mut all = BTreeSet::new();
    leaves(&fleet(), "", &mut all);
    let missing: Vec<&String> = all
        .iter()
        .filter(|path| {
            !LINES.iter().any(|line| *line == path.as_str() || line.starts_with(&format!("{path} ")))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(all.len() > 40, "{all:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "get machines m1 -l a=b",
        "get machines -l =",
        "delete machines m1 --all",
        "kubeconfig",
        "kubeconfig -c home --service-account",
        "configure machine m1",
        "user create a@example.org",
        "user create a@example.org -r Boss",
        "cluster template export",
        "cluster machine delete m1 -y",
        "support -c home --no-encryption --encryption-recipients a",
        "audit-log -f --search x",
        "media download iso --initial-labels x",
        "media preset create rack --platform aws --overlay rpi_generic",
    ] {
        let words = ["corten", "fleet"].into_iter().chain(line.split(' '));
        assert!(Cli::try_parse_from(words).is_err(), "{line}");
    }
}

#[test]
fn flags_of_machines_do_not_reach_the_commands_of_the_manager() {
    let fleet = fleet();
    let get = fleet.find_subcommand("get").expect("there");
    for flag in ["nodes", "endpoints", "talosconfig", "cluster"] {
        assert!(get.get_arguments().all(|argument| argument.get_id() != flag), "{flag}");
    }
    for flag in ["context", "omniconfig", "insecure_skip_tls_verify"] {
        assert!(get.get_arguments().any(|argument| argument.get_id() == flag), "{flag}");
    }
}
