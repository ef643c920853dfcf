//! Commands that `talosctl` has and this program does not, each with what to do instead.

/// Command without its program, and what people do instead.
pub const ABSENT: &[(&str, &str)] = &[
    ("cluster", "machines for trying things out are made by `cargo xtask up` of the source tree"),
    ("conformance", "the suites of Kubernetes run with their own tools, such as `hydrophone`"),
    ("dashboard", "`corten get`, `corten events` and `corten logs -f`, one beside the other"),
    ("gen ca", "`corten gen secrets` makes the authorities of a cluster"),
    ("gen crt", "`corten config new` makes a client certificate"),
    ("gen csr", "`corten config new` makes a client certificate"),
    ("gen key", "`corten config new` makes a client certificate with its key"),
    ("gen keypair", "`openssl req -x509` makes one"),
    ("gen secureboot", "images are not signed for Secure Boot by this version"),
    ("image cache-cert-gen", "a machine reads its image cache from its disk"),
    ("image cache-create", "an image cache is a part of an image that is made with it"),
    ("image cache-serve", "a machine reads its image cache from its disk"),
    ("image talos-bundle", "an image of Corten is one file"),
    ("inject", "the manifest of a service account for the machine API is written by hand"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command of talosctl, up to its newest, that talks to machines or makes something for them (node.md 8).
    /// Groups stand for what is in them where all of it is absent.
    const TALOSCTL: &str = "apply-config bootstrap cgroups cluster completion config config/add config/context \
        config/contexts config/endpoint config/info config/merge config/new config/node config/remove conformance \
        containers copy dashboard debug diskfree dmesg edit etcd etcd/alarm etcd/alarm/disarm etcd/alarm/list \
        etcd/defrag etcd/downgrade etcd/downgrade/cancel etcd/downgrade/enable etcd/downgrade/validate etcd/forfeit-leadership \
        etcd/leave etcd/members etcd/remove-member etcd/snapshot etcd/status events gen gen/ca gen/config gen/crt \
        gen/csr gen/key gen/keypair gen/secrets gen/secureboot get health image image/cache-cert-gen \
        image/cache-create image/cache-serve image/k8s-bundle image/list image/pull image/remove image/talos-bundle \
        inject inspect inspect/dependencies kubeconfig list logs machineconfig machineconfig/gen machineconfig/patch \
        memory meta meta/delete meta/write mounts netstat patch pcap processes read reboot reset restart rollback \
        rotate-ca service shutdown stats support time upgrade upgrade-k8s usage validate version wipe wipe/disk \
        wipe/lv wipe/md wipe/pv wipe/vg";

    fn is_there(path: &str) -> bool {
        let root = crate::command();
        let inner = |command: clap::Command, word: &str| command.find_subcommand(word).cloned();
        path.split('/').try_fold(root, inner).is_some()
    }

    #[test]
    fn every_command_of_talosctl_is_there_or_is_told_to_be_absent() {
        let absent = |path: &str| ABSENT.iter().any(|(name, _)| name.replace(' ', "/") == path);
        let (mut missing, mut both) = (Vec::new(), Vec::new());
        for path in TALOSCTL.split_whitespace() {
            match (is_there(path), absent(path)) {
                (false, false) => missing.push(path),
                (true, true) => both.push(path),
                _ => {}
            }
        }
        assert!(missing.is_empty() && both.is_empty(), "missing: {missing:?}, there and absent: {both:?}");
        for (name, _) in ABSENT {
            let path = name.replace(' ', "/");
            assert!(TALOSCTL.split_whitespace().any(|known| known == path), "talosctl has no {name}");
        }
    }
}
