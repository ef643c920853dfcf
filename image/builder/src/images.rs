//! The OCI images of a cluster, under the names that configurations use.
//!
//! One layer carries all Kubernetes programs, so six images cost one. Where clients list another
//! version as their default than the one we build, the image answers to both names and its label
//! `org.opencontainers.image.version` tells the truth.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use corten_base::Arch;

use crate::debian::Debian;
use crate::oci::{Config, Layer, Layout};
use crate::root;
use crate::tree::Tree;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Kubernetes' version and its multi-call program.
    pub kubernetes: (String, PathBuf),
    /// More versions of the same, for upgrades.
    pub more_kubernetes: Vec<(String, PathBuf)>,
    /// etcd.
    pub etcd: (String, PathBuf),
    /// CoreDNS.
    pub coredns: (String, PathBuf),
    /// flanneld.
    pub flannel: (String, PathBuf),
    /// pause.
    pub pause: PathBuf,
    /// The workload of tests.
    pub hello: PathBuf,
    /// Unpacked Debian packages with mount, mkfs, nft and conntrack.
    pub tools: PathBuf,
}

/// Versions that clients of our compatibility level name by default.
const DEFAULT_ETCD: &str = "v3.6.12";
const DEFAULT_COREDNS: &str = "v1.14.6";
const DEFAULT_FLANNEL: &str = "0.28.8";
const DEFAULT_PAUSE: &str = "3.10.1";

/// Programs of the multi-call binary that images start.
const KUBERNETES: &[&str] =
    &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"];

/// What kube-proxy and flannel call; `cp` is how flannel's pod installs its CNI configuration.
const NETWORK_TOOLS: &[&str] = &["usr/sbin/nft", "usr/sbin/conntrack", "usr/bin/cp"];

/// What the kubelet calls.
const STORAGE_TOOLS: &[&str] = &[
    "usr/bin/mount",
    "usr/bin/umount",
    "usr/bin/findmnt",
    "usr/sbin/blkid",
    "usr/sbin/losetup",
    "usr/sbin/blockdev",
    "usr/sbin/mke2fs",
    "usr/sbin/e2fsck",
    "usr/sbin/resize2fs",
    "usr/sbin/dumpe2fs",
    "usr/sbin/tune2fs",
    "usr/sbin/mkfs.xfs",
    "usr/sbin/xfs_growfs",
    "usr/sbin/xfs_repair",
    "usr/sbin/xfs_io",
    "usr/sbin/fsck",
    "usr/bin/nsenter",
    "usr/bin/cp",
];

/// Files taken from Debian packages into images.
pub type Taken = BTreeSet<String>;

/// Writes all images into a layout at `folder`.
///
/// # Errors
/// When a program is missing or a blob cannot be written.
pub fn write(folder: &Path, arch: Arch, programs: &Programs) -> Result<Taken> {
    let mut layout = Layout::begin(folder, arch)?;
    let mut debian = Debian::new(programs.tools.clone(), arch);
    let base = layout.layer(&base(&debian)?)?;
    let network = layout.layer(&tools(&mut debian, NETWORK_TOOLS)?)?;
    let storage = layout.layer(&storage(&mut debian)?)?;
    for version in std::iter::once(&programs.kubernetes).chain(&programs.more_kubernetes) {
        kubernetes(&mut layout, version, &base, &network, &storage)?;
    }
    let (version, program) = &programs.etcd;
    let layer = layout.layer(&single("usr/local/bin/etcd", program))?;
    let names = tagged("registry.k8s.io/etcd", &[DEFAULT_ETCD, &format!("v{version}")]);
    layout.image(&names, &[base.clone(), layer], &config("/usr/local/bin/etcd", version))?;

    let (version, program) = &programs.coredns;
    let layer = layout.layer(&single("coredns", program))?;
    let names = tagged("registry.k8s.io/coredns/coredns", &[DEFAULT_COREDNS, &format!("v{version}")]);
    layout.image(&names, &[base.clone(), layer], &config("/coredns", version))?;

    let (version, program) = &programs.flannel;
    let layer = layout.layer(&single("opt/bin/flanneld", program))?;
    let names = tagged("ghcr.io/siderolabs/flannel", &[DEFAULT_FLANNEL, version, &format!("v{version}")]);
    layout.image(&names, &[base.clone(), network, layer], &config("/opt/bin/flanneld", version))?;

    small(&mut layout, programs, &base)?;
    layout.finish()?;
    Ok(debian.taken().clone())
}

fn kubernetes(
    layout: &mut Layout,
    (version, program): &(String, PathBuf),
    base: &Layer,
    network: &Layer,
    storage: &Layer,
) -> Result<()> {
    let mut tree = single("usr/local/bin/kubernetes", program);
    for name in KUBERNETES {
        tree.link(&format!("usr/local/bin/{name}"), "kubernetes");
    }
    let programs = layout.layer(&tree)?;
    let tag = format!("v{version}");
    for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"] {
        let mut layers = vec![base.clone(), programs.clone()];
        if name == "kube-proxy" {
            layers.insert(1, network.clone());
        }
        let names = tagged(&format!("registry.k8s.io/{name}"), &[&tag]);
        layout.image(&names, &layers, &config(&format!("/usr/local/bin/{name}"), version))?;
    }
    let layers = [base.clone(), storage.clone(), programs];
    layout.image(
        &tagged("ghcr.io/siderolabs/kubelet", &[&tag]),
        &layers,
        &config("/usr/local/bin/kubelet", version),
    )
}

/// pause and hello.
fn small(layout: &mut Layout, programs: &Programs, base: &Layer) -> Result<()> {
    let layer = layout.layer(&single("pause", &programs.pause))?;
    let pause = Config { user: "65535:65535".into(), ..config("/pause", "1") };
    layout.image(&tagged("registry.k8s.io/pause", &[DEFAULT_PAUSE, "3.10"]), &[layer], &pause)?;
    let layer = layout.layer(&single("usr/bin/hello", &programs.hello))?;
    let hello = Config { user: "65534:65534".into(), ..config("/usr/bin/hello", "1") };
    layout.image(&tagged("corten.local/hello", &["1"]), &[base.clone(), layer], &hello)
}

fn config(program: &str, version: &str) -> Config {
    Config { entrypoint: vec![program.to_owned()], user: String::new(), version: version.to_owned() }
}

fn tagged(repository: &str, tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| format!("{repository}:{tag}")).collect()
}

fn single(path: &str, program: &Path) -> Tree {
    let mut tree = Tree::default();
    tree.copy(path, 0o755, program);
    tree
}

/// What programs expect of any root: users, certificates, a folder for temporary files.
fn base(debian: &Debian) -> Result<Tree> {
    let mut tree = Tree::default();
    for (path, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
    {
        tree.link(path, target);
    }
    for folder in
        ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/local/bin", "run", "var/lib", "var/log", "etc"]
    {
        tree.folder(folder);
    }
    tree.insert("tmp", 0o1777, crate::tree::Content::Folder);
    tree.file("etc/passwd", 0o644, "root:x:0:0::/:/nologin\nnobody:x:65534:65534::/:/nologin\n");
    tree.file("etc/group", 0o644, "root:x:0:\nnobody:x:65534:\n");
    tree.file("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
    tree.file("etc/ssl/certs/ca-certificates.crt", 0o644, root::certificates(debian)?);
    Ok(tree)
}

fn tools(debian: &mut Debian, programs: &[&str]) -> Result<Tree> {
    let mut tree = Tree::default();
    for program in programs {
        debian.program(&mut tree, program)?;
    }
    Ok(tree)
}

fn storage(debian: &mut Debian) -> Result<Tree> {
    let mut tree = tools(debian, STORAGE_TOOLS)?;
    for (name, target) in
        [("mkfs.ext4", "mke2fs"), ("mkfs.ext3", "mke2fs"), ("fsck.ext4", "e2fsck"), ("fsck.ext3", "e2fsck")]
    {
        tree.link(&format!("usr/sbin/{name}"), target);
    }
    debian.file(&mut tree, "etc/mke2fs.conf")?;
    Ok(tree)
}
