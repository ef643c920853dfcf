//! Rules, by the texts that users see.

use std::sync::LazyLock;

use corten_base::{Clock, Rng};
use corten_pki::{Authority, AuthorityKind};

use crate::{Config, Target, values};

/// A worker that is right, with `extra` lines below `machine`.
fn worker(machine: &str, more: &str) -> String {
    format!(
        "version: v1alpha1\nmachine:\n    type: worker\n    token: abcdef.0123456789abcdef\n    acceptedCAs: [{{crt: {}}}]\n{machine}cluster:\n    id: x\n    secret: y\n    controlPlane: {{endpoint: 'https://10.0.0.1:6443'}}\n{more}",
        *CA
    )
}

/// An authority in base64 of PEM.
static CA: LazyLock<String> = LazyLock::new(|| {
    let now = Clock::fixed(1_800_000_000).now();
    let authority = Authority::generate(AuthorityKind::Talos, now, &Rng::seeded(1)).unwrap();
    values::to_base64(authority.certificate().to_pem())
});

fn check(text: &str, expected: &[&str]) {
    let found = match Config::check(text.as_bytes(), Target::Container) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.in_file("worker.yaml"),
    };
    assert_eq!(found, expected);
}

#[test]
fn a_small_worker_is_enough() {
    check(&worker("", ""), &[]);
}

#[test]
fn all_causes_come_at_once_with_their_places() {
    let machine = "    network:\n        interfaces:\n            - interface: eth0\n            - interface: eth1\n              mtu: 90\n              adresses: [x]\n              routes: [{network: 10.0.0.0/8, gateway: 'fd00::1'}]\n    sysctls: [a]\n";
    let more = "---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: sometimes\n---\napiVersion: v1alpha1\nkind: BGPInstanceConfig\nname: eth0.100\n---\napiVersion: v1alpha1\nkind: LinkConfg\n";
    check(
        &worker(machine, more),
        &[
            "machine.network.interfaces[1].mtu: 90 is below the minimum 1280 for IPv6 (worker.yaml:10:20)",
            "machine.network.interfaces[1].adresses: unknown key; did you mean \"addresses\"? (worker.yaml:11:15)",
            "machine.network.interfaces[1].routes[0].gateway: fd00::1 and 10.0.0.0/8 are of different families (worker.yaml:12:24)",
            "machine.sysctls: expected a mapping, found a list (worker.yaml:13:14)",
            "document HostnameConfig: auto: \"sometimes\" is not one of stable, off (worker.yaml:21:7)",
            "kind: BGPInstanceConfig is not yet supported (worker.yaml:24:7)",
            "kind: \"LinkConfg\" is not registered; did you mean \"LinkConfig\"? (worker.yaml:28:7)",
        ],
    );
}

#[test]
fn what_is_missing_is_named_where_it_should_be() {
    let found = |target| {
        Config::check(b"version: v1alpha1\nmachine: {type: controlplane}\ncluster: {}\n", target)
            .unwrap_err()
            .to_string()
    };
    let text = found(Target::Metal);
    for line in [
        "machine.ca.crt: missing; a machine needs the Talos CA or acceptedCAs (line 2, column 10)",
        "machine.ca.key: missing; a control plane issues certificates of the Talos API (line 2, column 10)",
        "machine.install: missing; the machine must be told where to install (line 2, column 10)",
        "cluster.controlPlane.endpoint: missing; the machine must know where the Kubernetes API is (line 3, column 10)",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!found(Target::Installed).contains("machine.install"));
    let text = Config::check(b"version: v1alpha1\n", Target::Metal).unwrap_err().to_string();
    assert_eq!(text, "cluster: missing (line 1, column 1)\nmachine: missing (line 1, column 1)");
}

#[test]
fn kernel_parameters_stay_in_their_folder() {
    let machine = "    sysctls:\n        net/ipv4/conf/eth0.100/rp_filter: \"1\"\n        net/../../../system/state/x: \"1\"\n    sysfs:\n        block..sda: x\n";
    let more = "---\napiVersion: v1alpha1\nkind: SysctlConfig\nparams:\n    /vm/swappiness: \"1\"\n";
    let not_a_name = "is not a name such as net.ipv4.ip_forward or net/ipv4/ip_forward";
    check(
        &worker(machine, more),
        &[
            &format!(
                "machine.sysctls.net/../../../system/state/x: \"net/../../../system/state/x\" {not_a_name} (worker.yaml:8:9)"
            ),
            &format!("machine.sysfs.block..sda: \"block..sda\" {not_a_name} (worker.yaml:10:9)"),
            &format!(
                "document SysctlConfig: params./vm/swappiness: \"/vm/swappiness\" {not_a_name} (worker.yaml:19:5)"
            ),
        ],
    );
}

#[test]
fn keys_do_not_belong_on_workers() {
    let machine = format!("    ca: {{crt: {}, key: eA==}}\n", *CA);
    let more = format!("    ca: {{crt: {}, key: eA==}}\n    etcd: {{image: x}}\n", *CA);
    let text = Config::check(worker(&machine, &more).as_bytes(), Target::Container).unwrap_err().to_string();
    for part in [
        "machine.ca.key: not allowed on a worker",
        "cluster.ca.key: not allowed on a worker",
        "cluster.etcd: only control planes run etcd",
        "machine.ca.key: failed to read a private key from PEM: no PEM block found",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn links_are_named_once_and_lead_somewhere() {
    let machine = "    network:\n        interfaces:\n            - {addresses: [10.0.0.1/24]}\n            - {interface: eth0, deviceSelector: {driver: x}}\n            - {interface: eth0, cidr: 10.0.0.1/8, addresses: [10.0.0.2], routes: [{metric: 5}]}\n            - {interface: eth1, vlans: [{vlanId: 5}, {vlanId: 5}, {dhcp: true}]}\n            - {interface: eth2, mtu: 576, addresses: [10.0.0.9/8]}\n";
    check(
        &worker(machine, ""),
        &[
            "machine.network.interfaces[0]: give interface or deviceSelector (worker.yaml:8:15)",
            "machine.network.interfaces[1]: interface and deviceSelector exclude each other (worker.yaml:9:15)",
            "machine.network.interfaces[2].cidr: cidr and addresses exclude each other; use addresses (worker.yaml:10:15)",
            "machine.network.interfaces[2].interface: eth0 is already configured in line 9 (worker.yaml:10:15)",
            "machine.network.interfaces[2].routes[0]: give network, gateway or both (worker.yaml:10:83)",
            "machine.network.interfaces[3].vlans[1].vlanId: VLAN 5 is already configured in line 11 (worker.yaml:11:54)",
            "machine.network.interfaces[3].vlans[2].vlanId: missing; expected 1 to 4094 (worker.yaml:11:67)",
        ],
    );
}

#[test]
fn node_metadata_follows_kubernetes() {
    let machine = "    nodeLabels: {'a b': c, ok/a: 'b c', fine: ''}\n    nodeAnnotations: {'/': a, fine: 'any text'}\n    nodeTaints: {x: 'y:Never', fine: NoSchedule, too: 'v:NoExecute'}\n";
    check(
        &worker(machine, ""),
        &[
            "machine.nodeLabels.a b: \"a b\" is not a qualified name such as example.com/name (worker.yaml:6:18)",
            "machine.nodeLabels[\"ok/a\"]: \"b c\" is not a label value (letters, digits, - _ and . up to 63) (worker.yaml:6:28)",
            "machine.nodeAnnotations[\"/\"]: \"/\" is not a qualified name such as example.com/name (worker.yaml:7:23)",
            "machine.nodeTaints.x: \"Never\" is not an effect; expected NoSchedule, PreferNoSchedule or NoExecute (worker.yaml:8:18)",
        ],
    );
}

#[test]
fn what_the_machine_decides_cannot_be_overridden() {
    let machine = "    kubelet:\n        extraConfig: {port: 1, maxPods: 5}\n        extraArgs: {kubeconfig: x, v: '2'}\n        nodeIP: {validSubnets: ['!10.0.0.0/8', foo]}\n    files:\n        - {path: /etc/passwd, op: create}\n        - {path: /var/../etc/passwd}\n        - {path: /var/lib/x}\n    disks: [{device: sdb}]\n";
    check(
        &worker(machine, ""),
        &[
            "machine.kubelet.extraConfig.port: cannot be overridden; the machine decides it (worker.yaml:7:23)",
            "machine.kubelet.extraArgs.kubeconfig: cannot be overridden; the machine decides it (worker.yaml:8:21)",
            "machine.kubelet.nodeIP.validSubnets[1]: \"foo\" is not a network such as 10.0.0.0/8, with ! in front to exclude it (worker.yaml:9:48)",
            "machine.files[0].path: \"/etc/passwd\" is not below /var, the only place for files of a configuration (worker.yaml:11:18)",
            "machine.files[1].path: \"/var/../etc/passwd\" is not below /var, the only place for files of a configuration (worker.yaml:12:18)",
            "machine.disks[0].device: \"sdb\" is not a device such as /dev/sdb (worker.yaml:14:13)",
        ],
    );
}

#[test]
fn networks_of_the_cluster_do_not_overlap() {
    let more = "    network: {podSubnets: [10.0.0.0/8], serviceSubnets: [10.96.0.0/12], dnsDomain: 'x y'}\n    inlineManifests: [{name: a, contents: '{'}, {name: a, contents: 'x: y'}]\n";
    let text = Config::check(worker("", more).as_bytes(), Target::Container).unwrap_err().to_string();
    for part in [
        "cluster.network.serviceSubnets: 10.96.0.0/12 overlaps with the pod network 10.0.0.0/8",
        "cluster.network.dnsDomain: \"x y\" is not a DNS name",
        "cluster.inlineManifests[0].contents: not YAML",
        "cluster.inlineManifests[1].name: \"a\" is already the name",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn documents_and_old_fields_do_not_say_the_same_twice() {
    let machine = "    network: {hostname: a, nameservers: [1.1.1.1], interfaces: [{interface: eth0, dhcp: true}]}\n    time: {servers: [a]}\n";
    let more = "---\n{apiVersion: v1alpha1, kind: HostnameConfig, auto: stable}\n---\n{apiVersion: v1alpha1, kind: ResolverConfig, nameservers: [{address: 9.9.9.9}]}\n---\n{apiVersion: v1alpha1, kind: TimeSyncConfig, ntp: {servers: [b]}}\n---\n{apiVersion: v1alpha1, kind: LinkConfig, name: eth0, mtu: 1400}\n";
    check(
        &worker(machine, more),
        &[
            "document HostnameConfig: auto: machine.network.hostname is already set in line 6; keep only HostnameConfig (worker.yaml:13:52)",
            "document ResolverConfig: nameservers: machine.network.nameservers is already set in line 6; keep only ResolverConfig (worker.yaml:15:59)",
            "document TimeSyncConfig: ntp.servers: machine.time.servers is already set in line 7; keep only TimeSyncConfig (worker.yaml:17:61)",
            "document LinkConfig/eth0: name: machine.network.interfaces has eth0 in line 6; keep only one (worker.yaml:19:48)",
        ],
    );
}

#[test]
fn host_names_are_given_or_made_up_but_not_both() {
    let document =
        |fields: &str| worker("", &format!("---\n{{apiVersion: v1alpha1, kind: HostnameConfig{fields}}}\n"));
    let ok = |fields: &str| Config::check(document(fields).as_bytes(), Target::Container).is_ok();
    assert!(
        ok(", auto: stable")
            && ok(", hostname: a.example.com")
            && ok(", auto: off, hostname: a")
            && ok(", auto: off")
    );
    assert!(
        !ok("") && !ok(", auto: stable, hostname: a") && !ok(", hostname: a_b") && !ok(", hostname: 'a..b'")
    );
}

#[test]
fn what_would_mislead_if_it_were_ignored_is_refused_by_name() {
    let machine = "    env: {HTTP_PROXY: 'http://proxy:3128'} # takes effect\n    network: {kubespan: {enabled: true}, interfaces: [{interface: eth0, vip: {equinixMetal: {apiToken: t}}}]}\n    seccompProfiles: [{name: a.json, value: {defaultAction: SCMP_ACT_LOG}}]\n    registries: {config: {ghcr.io: {auth: {username: u, password: p}}}}\n";
    let more = "---\n{apiVersion: v1alpha1, kind: ResolverConfig, nameservers: [{address: 9.9.9.9, protocol: DoT}, {address: 1.1.1.1, protocol: Do53}]}\n---\n{apiVersion: v1alpha1, kind: VolumeConfig, name: EPHEMERAL, encryption: {provider: luks2}}\n---\n{apiVersion: v1alpha1, kind: RegistryAuthConfig, name: ghcr.io}\n---\n{apiVersion: v1alpha1, kind: SecurityProfileConfig}\n";
    check(
        &worker(machine, more),
        &[
            "machine.network.kubespan.enabled: not yet supported (worker.yaml:7:35)",
            "machine.network.interfaces[0].vip.equinixMetal: not yet supported (worker.yaml:7:93)",
            "document ResolverConfig: nameservers[0].protocol: DoT is not yet supported (worker.yaml:15:89)",
            "document VolumeConfig/EPHEMERAL: encryption: not yet supported (worker.yaml:17:73)",
            "kind: SecurityProfileConfig is not yet supported (worker.yaml:21:30)",
        ],
    );
    let unset = "    network: {kubespan: {enabled: false}}\n    seccompProfiles: []\n    install: {disk: /dev/vda, wipe: false}\n";
    let config = Config::check(worker(unset, "").as_bytes(), Target::Metal).unwrap();
    assert_eq!(config.warnings().to_string(), "", "what is off or empty is nobody's business");
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let config = Config::check(
        worker("    logging: {destinations: [{endpoint: 'tcp://h:1'}]}\n", "").as_bytes(),
        Target::Container,
    )
    .unwrap();
    let warnings = config.warnings().to_string();
    assert_eq!(warnings, "machine.logging: accepted, but has no effect yet (line 6, column 5)");
}

#[test]
fn documents_of_the_manager_say_where_it_is_and_never_show_the_token() {
    let problems = |kind: &str, fields: &str| {
        let text = format!("apiVersion: v1alpha1\nkind: {kind}\n{fields}");
        let checked = Config::check(text.as_bytes(), Target::Installed);
        checked.err().map(|problems| problems.to_string()).unwrap_or_default()
    };
    for url in
        ["https://h:1?jointoken=t", "grpc://[fd00::1]:1/?jointoken=t&grpc_tunnel=y", "h:1?jointoken=a://b"]
    {
        assert_eq!(problems("SideroLinkConfig", &format!("apiUrl: {url}\n")), "", "{url}");
    }
    let refused = problems("SideroLinkConfig", "apiUrl: https://?jointoken=hunter2\n");
    assert!(refused.contains("apiUrl: not a join URL") && !refused.contains("hunter2"), "{refused}");
    assert_eq!(problems("EventSinkConfig", "endpoint: '[fd00::1]:8090'\n"), "");
    assert!(problems("EventSinkConfig", "endpoint: host\n").contains("is not a host with a port"));
    assert_eq!(problems("KmsgLogConfig", "name: a\nurl: tcp://[fd00::1]:8092\n"), "");
    assert!(problems("KmsgLogConfig", "name: a\nurl: http://h:1\n").contains("expected tcp://"));
    assert!(problems("KmsgLogConfig", "url: tcp://h:1\n").contains("name: missing"));
}
