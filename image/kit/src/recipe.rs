//! The components, as data. To add one: a row here and, for Go, its folder under `go/`.

use anyhow::{Context, Result};

/// One row of the kit.
#[derive(Debug)]
pub struct Component {
    /// Name on the command line.
    pub name: &'static str,
    /// Version it is pinned to; for Debian the suite, whose exact versions the manifest records.
    pub version: &'static str,
    /// SPDX licence expression; Debian packages state their own.
    pub licence: &'static str,
    /// Package URL of the source.
    pub source: &'static str,
    /// How it is made.
    pub recipe: Recipe,
}

/// How a component is made.
#[derive(Debug)]
pub enum Recipe {
    /// Programs of Go modules, built as a consumer module with its own pins.
    Go(Go),
    /// One C file, linked static.
    C(&'static str),
    /// Files of a Go module, as they are.
    Module(ModuleFiles),
    /// Packages of Debian's stable suite, unpacked.
    Debian(DebianSet),
}

/// A consumer module: `go/<pins>/{go.mod,go.sum}` with the sources of `go/<sources>`.
#[derive(Debug)]
pub struct Go {
    /// Folder with `go.mod` and `go.sum`.
    pub pins: &'static str,
    /// Folder with our own source files; usually the same.
    pub sources: &'static str,
    /// Build tags.
    pub tags: &'static str,
    /// Flags of the linker.
    pub linker: &'static str,
    /// Whether C is linked in (static).
    pub cgo: bool,
    /// Program names and the packages they are built from.
    pub programs: &'static [(&'static str, &'static str)],
}

/// Files that a Go module has beside its code.
#[derive(Debug)]
pub struct ModuleFiles {
    /// Folder with the `go.mod` and `go.sum` that pin the module.
    pub pins: &'static str,
    /// Path of the module.
    pub module: &'static str,
    /// Paths inside it; the names at their ends differ.
    pub files: &'static [&'static str],
}

/// Packages to unpack into one tree.
#[derive(Debug)]
pub struct DebianSet {
    /// Packages whose dependencies are followed.
    pub roots: &'static [&'static str],
    /// What of the dependencies is taken: names with one of these prefixes. Everything when empty.
    pub keep: &'static [&'static str],
}

const KUBERNETES_PROGRAMS: &[(&str, &str)] = &[("kubernetes", ".")];

const KUBERNETES: Component = Component {
    name: "kubernetes",
    version: "1.36.3",
    licence: "Apache-2.0",
    source: "pkg:golang/k8s.io/kubernetes@v1.36.3",
    recipe: Recipe::Go(Go {
        pins: "kubernetes",
        sources: "kubernetes",
        tags: "",
        linker: "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 -X k8s.io/component-base/version.gitTreeState=clean",
        cgo: false,
        programs: KUBERNETES_PROGRAMS,
    }),
};

const KUBERNETES_OLD: Component = Component {
    name: "kubernetes-1.35",
    version: "1.35.4",
    licence: "Apache-2.0",
    source: "pkg:golang/k8s.io/kubernetes@v1.35.4",
    recipe: Recipe::Go(Go {
        pins: "kubernetes-1.35",
        sources: "kubernetes",
        tags: "",
        linker: "-s -w -X k8s.io/component-base/version.gitVersion=v1.35.4 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=35 -X k8s.io/component-base/version.gitTreeState=clean",
        cgo: false,
        programs: KUBERNETES_PROGRAMS,
    }),
};

const CONTAINERD: Component = Component {
    name: "containerd",
    version: "2.4.2",
    licence: "Apache-2.0",
    source: "pkg:golang/github.com/containerd/containerd/v2@v2.4.2",
    recipe: Recipe::Go(Go {
        pins: "containerd",
        sources: "containerd",
        tags: "no_btrfs no_devmapper no_zfs no_aufs osusergo netgo static_build",
        linker: "-s -w -X github.com/containerd/containerd/v2/version.Version=v2.4.2",
        cgo: false,
        programs: &[
            ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
        ],
    }),
};

const RUNC: Component = Component {
    name: "runc",
    version: "1.5.2",
    licence: "Apache-2.0 AND LGPL-2.1-only",
    source: "pkg:golang/github.com/opencontainers/runc@v1.5.2",
    recipe: Recipe::Go(Go {
        pins: "runc",
        sources: "runc",
        tags: "seccomp netgo osusergo",
        linker: "-s -w -extldflags -static -X main.version=1.5.2",
        cgo: true,
        programs: &[("runc", "github.com/opencontainers/runc")],
    }),
};

const CNI: Component = Component {
    name: "cni",
    version: "1.9.1",
    licence: "Apache-2.0",
    source: "pkg:golang/github.com/containernetworking/plugins@v1.9.1",
    recipe: Recipe::Go(Go {
        pins: "cni",
        sources: "cni",
        tags: "",
        linker: "-s -w",
        cgo: false,
        programs: &[
            ("bridge", "github.com/containernetworking/plugins/plugins/main/bridge"),
            ("loopback", "github.com/containernetworking/plugins/plugins/main/loopback"),
            ("host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local"),
            ("portmap", "github.com/containernetworking/plugins/plugins/meta/portmap"),
            ("firewall", "github.com/containernetworking/plugins/plugins/meta/firewall"),
            ("flannel", "./flannel"),
        ],
    }),
};

const ETCD: Component = Component {
    name: "etcd",
    version: "3.7.3",
    licence: "Apache-2.0",
    source: "pkg:golang/go.etcd.io/etcd/server/v3@v3.7.3",
    recipe: Recipe::Go(Go {
        pins: "etcd",
        sources: "etcd",
        tags: "",
        linker: "-s -w",
        cgo: false,
        programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
    }),
};

const COREDNS: Component = Component {
    name: "coredns",
    version: "1.14.7",
    licence: "Apache-2.0",
    source: "pkg:golang/github.com/coredns/coredns@v1.14.7",
    recipe: Recipe::Go(Go {
        pins: "coredns",
        sources: "coredns",
        tags: "",
        linker: "-s -w",
        cgo: false,
        programs: &[("coredns", ".")],
    }),
};

const FLANNEL: Component = Component {
    name: "flannel",
    version: "0.26.7",
    licence: "Apache-2.0",
    source: "pkg:golang/github.com/flannel-io/flannel@v0.26.7",
    recipe: Recipe::Go(Go {
        pins: "flannel",
        sources: "flannel",
        tags: "",
        linker: "-s -w -extldflags -static -X github.com/flannel-io/flannel/pkg/version.Version=v0.26.7",
        cgo: true,
        programs: &[("flanneld", "github.com/flannel-io/flannel")],
    }),
};

const HELLO: Component = Component {
    name: "hello",
    version: "1",
    licence: "Apache-2.0",
    source: "pkg:generic/corten-hello@1",
    recipe: Recipe::Go(Go {
        pins: "hello",
        sources: "hello",
        tags: "",
        linker: "-s -w",
        cgo: false,
        programs: &[("hello", ".")],
    }),
};

const PAUSE: Component = Component {
    name: "pause",
    version: "1",
    licence: "Apache-2.0",
    source: "pkg:generic/corten-pause@1",
    recipe: Recipe::C("c/pause.c"),
};

const TALOSCTL: Component = Component {
    name: "clients/talosctl",
    version: "1.13.9",
    licence: "MPL-2.0",
    source: "pkg:golang/github.com/siderolabs/talos@v1.13.9",
    recipe: Recipe::Go(Go {
        pins: "talosctl",
        sources: "talosctl",
        tags: "",
        linker: "-s -w -X github.com/siderolabs/talos/pkg/machinery/version.Tag=v1.13.9",
        cgo: false,
        programs: &[("talosctl", "github.com/siderolabs/talos/cmd/talosctl")],
    }),
};

/// Decodes every resource of a machine with the types of Talos's own module, for tests.
const MACHINERY: Component = Component {
    name: "clients/machinery",
    version: "1.13.9",
    licence: "MPL-2.0",
    source: "pkg:golang/github.com/siderolabs/talos/pkg/machinery@v1.13.9",
    recipe: Recipe::Go(Go {
        pins: "machinery",
        sources: "machinery",
        tags: "",
        linker: "-s -w -X github.com/siderolabs/talos/pkg/machinery/version.Tag=v1.13.9",
        cgo: false,
        programs: &[("machinery", ".")],
    }),
};

/// The client of Omni, for tests. Its sources are a `main` that runs its root command with the version of its releases.
const OMNICTL: Component = Component {
    name: "clients/omnictl",
    version: "1.8.0",
    licence: "MPL-2.0",
    source: "pkg:golang/github.com/siderolabs/omni/client@v1.8.0",
    recipe: Recipe::Go(Go {
        pins: "omnictl",
        sources: "omnictl",
        tags: "",
        linker: "-s -w",
        cgo: false,
        programs: &[("omnictl", ".")],
    }),
};

/// What omnictl compresses long texts with, for managers that it talks to.
const DICTIONARY: Component = Component {
    name: "clients/dictionary",
    version: "1.8.0",
    licence: "MPL-2.0",
    source: "pkg:golang/github.com/siderolabs/omni/client@v1.8.0",
    recipe: Recipe::Module(ModuleFiles {
        pins: "omnictl",
        module: "github.com/siderolabs/omni/client",
        files: &["pkg/compression/data/config.1.zdict"],
    }),
};

/// Foreign ends of SideroLink, for tests: a machine of our making of others' parts, and siderolink's server for
/// developers.
const SIDEROLINK: Component = Component {
    name: "clients/siderolink",
    version: "0.3.16",
    licence: "MPL-2.0",
    source: "pkg:golang/github.com/siderolabs/siderolink@v0.3.16",
    recipe: Recipe::Go(Go {
        pins: "siderolink",
        sources: "siderolink",
        tags: "",
        linker: "-s -w",
        cgo: false,
        programs: &[
            ("siderolink-machine", "."),
            ("siderolink-agent", "github.com/siderolabs/siderolink/cmd/siderolink-agent"),
        ],
    }),
};

/// The Go state that Talos is made of, and a client of either state, for measurements side by side.
const STATE_PEER: Component = Component {
    name: "peers/state",
    version: "1.16.2",
    licence: "MPL-2.0",
    source: "pkg:golang/github.com/cosi-project/runtime@v1.16.2",
    recipe: Recipe::Go(Go {
        pins: "statepeer",
        sources: "statepeer",
        tags: "",
        linker: "-s -w",
        cgo: false,
        programs: &[("statepeer", ".")],
    }),
};

/// The proxy that Talos's apid is made of, what is behind it, and a client, for measurements side by side.
const PROXY_PEER: Component = Component {
    name: "peers/proxy",
    version: "0.5.2",
    licence: "Apache-2.0",
    source: "pkg:golang/github.com/siderolabs/grpc-proxy@v0.5.2",
    recipe: Recipe::Go(Go {
        pins: "proxypeer",
        sources: "proxypeer",
        tags: "",
        linker: "-s -w",
        cgo: false,
        programs: &[("proxypeer", ".")],
    }),
};

/// containerd's own client, for measurements against a machine without our programs.
const CTR: Component = Component {
    name: "clients/ctr",
    version: "2.4.2",
    licence: "Apache-2.0",
    source: "pkg:golang/github.com/containerd/containerd/v2@v2.4.2",
    recipe: Recipe::Go(Go {
        pins: "containerd",
        sources: "ctr",
        tags: "no_btrfs no_devmapper no_zfs no_aufs osusergo netgo static_build",
        linker: "-s -w -X github.com/containerd/containerd/v2/version.Version=v2.4.2",
        cgo: false,
        programs: &[("ctr", "github.com/containerd/containerd/v2/cmd/ctr")],
    }),
};

const fn debian(
    name: &'static str,
    roots: &'static [&'static str],
    keep: &'static [&'static str],
) -> Component {
    Component {
        name,
        version: "trixie",
        licence: "NOASSERTION",
        source: "pkg:deb/debian",
        recipe: Recipe::Debian(DebianSet { roots, keep }),
    }
}

/// What of a program's dependencies matters: libraries. Interpreters and package tools do not.
const LIBRARIES: &[&str] = &["lib", "zlib1g"];

const ALL: &[Component] = &[
    KUBERNETES,
    KUBERNETES_OLD,
    CONTAINERD,
    RUNC,
    CNI,
    ETCD,
    COREDNS,
    FLANNEL,
    HELLO,
    PAUSE,
    TALOSCTL,
    MACHINERY,
    OMNICTL,
    DICTIONARY,
    SIDEROLINK,
    STATE_PEER,
    PROXY_PEER,
    CTR,
    debian("debian/kernel-cloud", &["linux-image-cloud-amd64"], &["linux-image-6"]),
    debian("debian/kernel-metal", &["linux-image-amd64"], &["linux-image-6"]),
    debian("debian/boot", &["systemd-boot-efi"], LIBRARIES),
    debian(
        "debian/base",
        &[
            "udev",
            "xfsprogs",
            "e2fsprogs",
            "dosfstools",
            "kmod",
            "nftables",
            "lvm2",
            "dmsetup",
            "mdadm",
            "pci.ids",
            "ca-certificates",
            "tzdata",
        ],
        LIBRARIES,
    ),
    debian(
        "debian/node-tools",
        &[
            "mount",
            "util-linux",
            "e2fsprogs",
            "xfsprogs",
            "nftables",
            "conntrack",
            "coreutils",
            "ca-certificates",
        ],
        LIBRARIES,
    ),
    debian(
        "debian/build-tools",
        &["squashfs-tools-ng", "erofs-utils", "kmod", "mtools", "dosfstools", "gdisk"],
        LIBRARIES,
    ),
    debian("debian/wireguard-tools", &["wireguard-tools"], &["wireguard-tools"]),
    debian("debian/busybox", &["busybox-static"], &["busybox"]),
    debian("debian/qemu", &["qemu-system-x86", "qemu-utils", "ovmf", "seabios", "swtpm"], &[]),
];

/// All components.
#[must_use]
pub fn all() -> &'static [Component] {
    ALL
}

/// The component with this name.
///
/// # Errors
/// When there is none.
pub fn find(name: &str) -> Result<&'static Component> {
    ALL.iter().find(|component| component.name == name).with_context(|| {
        let names: Vec<&str> = ALL.iter().map(|component| component.name).collect();
        format!("the kit has no `{name}`; it has {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_sources_and_linker_flags_agree() {
        for component in all() {
            let Recipe::Go(go) = &component.recipe else { continue };
            assert!(
                component.source.ends_with(&format!("@v{}", component.version))
                    || component.source.ends_with(&format!("@{}", component.version))
            );
            if go.linker.contains("ersion=") {
                assert!(go.linker.contains(component.version), "{}", component.name);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = all().iter().map(|component| component.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
    }
}
