//! containerd's configuration file, version 3, for the two instances of a machine.
//!
//! Plugins that a machine never uses are switched off: they cost memory and start time.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::registry::Auth;

/// Options of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Folder of images and snapshots.
    pub root: String,
    /// Folder of sockets and running tasks.
    pub state: String,
    /// gRPC socket.
    pub socket: String,
    /// Folder with `HOST/hosts.toml` files.
    pub registries: String,
    /// Further files that are merged in, as glob patterns.
    pub imports: Vec<String>,
    /// Path of runc; empty looks it up.
    pub runc: String,
    /// The kubelet's part; `None` for the instance that runs only the machine's own containers.
    pub cri: Option<CriOptions>,
}

/// Options of the part that serves the kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriOptions {
    /// Image that holds a pod's namespaces; never collected.
    pub sandbox_image: String,
    /// Folders of CNI programs.
    pub cni_bin: Vec<String>,
    /// Folder of CNI configurations.
    pub cni_conf: String,
    /// Never lower a process's OOM score: needed where root lacks `CAP_SYS_RESOURCE`.
    pub restrict_oom_score: bool,
    /// Enforce SELinux labels on pods.
    pub selinux: bool,
    /// Let NRI plugins change pods.
    pub nri: bool,
    /// Base of every pod's runtime specification, a JSON file; empty for containerd's own.
    pub base_spec: String,
    /// Folders of device descriptions (CDI).
    pub cdi: Vec<String>,
    /// Credentials by host, for pods that bring none themselves.
    pub auths: BTreeMap<String, Auth>,
}

/// Never used by a machine.
const UNUSED: [&str; 9] = [
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.native",
    "io.containerd.differ.v1.erofs",
    "io.containerd.mount-handler.v1.erofs",
    "io.containerd.image-verifier.v1.bindir",
    "io.containerd.internal.v1.opt",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.monitor.container.v1.restart",
];
/// Only the kubelet's instance needs these.
const CRI: [&str; 4] = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.podsandbox.controller.v1.podsandbox",
];
const NRI: &str = "io.containerd.nri.v1.nri";

/// The configuration file.
#[must_use]
pub fn render(options: &Options) -> String {
    let mut disabled: Vec<&str> = UNUSED.to_vec();
    match &options.cri {
        Some(cri) if cri.nri => {}
        Some(_) => disabled.push(NRI),
        None => disabled.extend([NRI].iter().chain(&CRI)),
    }
    let mut out = String::from("version = 3\n");
    setting(&mut out, "root", &quote(&options.root));
    setting(&mut out, "state", &quote(&options.state));
    setting(&mut out, "imports", &list(&options.imports));
    setting(&mut out, "disabled_plugins", &list(&disabled));
    table(&mut out, "grpc", &[("address", quote(&options.socket))]);
    let unpack = [
        ("config_path", quote(&options.registries)),
        // Layers of different images do not wait for each other; each still unpacks in order.
        ("max_concurrent_unpacks", "2".to_owned()),
    ];
    table(&mut out, &plugin("io.containerd.transfer.v1.local"), &unpack);
    if let Some(cri) = &options.cri {
        render_cri(&mut out, options, cri);
    }
    out
}

fn render_cri(out: &mut String, options: &Options, cri: &CriOptions) {
    let images = plugin("io.containerd.cri.v1.images");
    // Pulls through the transfer service do not know these credentials.
    let own = (!cri.auths.is_empty()).then(|| ("use_local_image_pull", "true".to_owned()));
    let settings: Vec<_> = [("snapshotter", quote(crate::SNAPSHOTTER))].into_iter().chain(own).collect();
    table(out, &images, &settings);
    table(out, &format!("{images}.pinned_images"), &[("sandbox", quote(&cri.sandbox_image))]);
    table(out, &format!("{images}.registry"), &[("config_path", quote(&options.registries))]);
    for (host, auth) in &cri.auths {
        let settings: Vec<(&str, String)> = [
            ("username", &auth.username),
            ("password", auth.password.reveal()),
            ("auth", auth.auth.reveal()),
            ("identitytoken", auth.identity_token.reveal()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key, quote(value)))
        .collect();
        table(out, &format!("{images}.registry.configs.{}.auth", quote(host)), &settings);
    }
    let runtime = plugin("io.containerd.cri.v1.runtime");
    let settings = [
        ("enable_selinux", cri.selinux.to_string()),
        ("restrict_oom_score_adj", cri.restrict_oom_score.to_string()),
        ("cdi_spec_dirs", list(&cri.cdi)),
    ];
    table(out, &runtime, &settings);
    let cni = [("bin_dirs", list(&cri.cni_bin)), ("conf_dir", quote(&cri.cni_conf))];
    table(out, &format!("{runtime}.cni"), &cni);
    table(out, &format!("{runtime}.containerd"), &[("default_runtime_name", quote("runc"))]);
    let runc = format!("{runtime}.containerd.runtimes.runc");
    let kind =
        [("runtime_type", quote("io.containerd.runc.v2")), ("base_runtime_spec", quote(&cri.base_spec))];
    table(out, &runc, &kind);
    // cgroupfs: this system has no systemd, and the kubelet asks for the same driver.
    let binary = [("BinaryName", quote(&options.runc)), ("SystemdCgroup", "false".to_owned())];
    table(out, &format!("{runc}.options"), &binary);
}

fn plugin(name: &str) -> String {
    format!("plugins.{}", quote(name))
}

fn table(out: &mut String, name: &str, settings: &[(&str, String)]) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "\n[{name}]");
    for (key, value) in settings {
        setting(out, key, value);
    }
}

fn setting(out: &mut String, key: &str, value: &str) {
    let _ = writeln!(out, "{key} = {value}");
}

pub(crate) fn list<T: AsRef<str>>(items: &[T]) -> String {
    let quoted: Vec<String> = items.iter().map(|it| quote(it.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

/// A TOML basic string.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(cri: Option<CriOptions>) -> Options {
        Options {
            root: "/var/lib/containerd".into(),
            state: "/run/containerd".into(),
            socket: "/run/containerd/containerd.sock".into(),
            registries: "/etc/cri/conf.d/hosts".into(),
            imports: vec!["/etc/cri/conf.d/*.part".into()],
            runc: "/usr/bin/runc".into(),
            cri,
        }
    }

    fn cri() -> CriOptions {
        CriOptions {
            sandbox_image: "registry.k8s.io/pause:3.10".into(),
            cni_bin: vec!["/opt/cni/bin".into()],
            cni_conf: "/etc/cni/net.d".into(),
            restrict_oom_score: true,
            selinux: false,
            nri: false,
            base_spec: String::new(),
            cdi: vec!["/etc/cdi".into()],
            auths: BTreeMap::new(),
        }
    }

    #[test]
    fn credentials_are_given_to_the_kubelets_instance() {
        let auth = Auth {
            username: "u".into(),
            password: corten_base::Secret::new("hunter2".into()),
            ..Auth::default()
        };
        let with = CriOptions { auths: [("ghcr.io".to_owned(), auth)].into(), ..cri() };
        assert!(!format!("{with:?}").contains("hunter2"));
        let text = render(&options(Some(with)));
        let table = "[plugins.\"io.containerd.cri.v1.images\".registry.configs.\"ghcr.io\".auth]\n\
            username = \"u\"\npassword = \"hunter2\"\n";
        assert!(text.contains(table) && text.contains("use_local_image_pull = true"), "{text}");
        assert!(!render(&options(Some(cri()))).contains("use_local_image_pull"));
    }

    #[test]
    fn the_kubelets_instance_pins_the_sandbox_and_knows_its_registries() {
        let text = render(&options(Some(cri())));
        for line in [
            "sandbox = \"registry.k8s.io/pause:3.10\"",
            "config_path = \"/etc/cri/conf.d/hosts\"",
            "restrict_oom_score_adj = true",
            "bin_dirs = [\"/opt/cni/bin\"]",
            "SystemdCgroup = false",
            "imports = [\"/etc/cri/conf.d/*.part\"]",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
        assert!(text.contains(NRI) && !text.contains("\"io.containerd.grpc.v1.cri\""));
    }

    #[test]
    fn the_systems_instance_has_no_kubelet_part() {
        let text = render(&options(None));
        assert!(text.contains("\"io.containerd.grpc.v1.cri\"") && !text.contains("pinned_images"));
    }

    #[test]
    fn quotes_what_toml_would_read_otherwise() {
        assert_eq!(quote("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000Ad\"");
    }
}
