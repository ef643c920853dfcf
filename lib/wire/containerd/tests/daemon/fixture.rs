//! A containerd of the test's own, and a tiny image.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use corten_containerd::config::{CriOptions, Options, render};
use corten_containerd::{Client, registry};
use sha2::{Digest, Sha256};

pub const IMAGE: &str = "example.org/tiny:1";

/// Every line on its standard input restarts the daemon; its end ends everything.
///
/// runc and the shims keep state below /run whatever the daemon's folders are, so that is private, too.
const SUPERVISE: &str = r#"mount -t tmpfs tmpfs /run || exit 1
    while :; do containerd --config "$1" >>"$2" 2>&1 & read -r line || exit 0; kill $!; wait $!; done"#;

pub struct Daemon {
    pub client: Client,
    pub cgroup: String,
    folder: tempfile::TempDir,
    process: Child,
}

impl Daemon {
    /// Starts one, or tells that the test is skipped.
    pub async fn start(name: &str) -> Option<Self> {
        let Some(programs) = std::env::var_os("CORTEN_CONTAINERD") else {
            eprintln!("skipped: {name}: CORTEN_CONTAINERD does not name a folder with containerd");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        write_layout(&folder.path().join("layout"));
        let options = options(folder.path());
        std::fs::write(folder.path().join("config.toml"), render(&options)).unwrap();
        let path = format!("{}:{}", programs.to_string_lossy(), std::env::var("PATH").unwrap());
        let process = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SUPERVISE, "sh"])
            .arg(folder.path().join("config.toml"))
            .arg(folder.path().join("daemon.log"))
            .env("PATH", path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let client = Client::lazy(&options.socket);
        let cgroup = format!("/corten-test-{name}-{}", std::process::id());
        let daemon = Self { client, cgroup, folder, process };
        daemon.ready().await;
        Some(daemon)
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    pub fn layout(&self) -> PathBuf {
        self.folder.path().join("layout")
    }

    /// Puts the files of the image's layer beside its blob.
    pub fn unpack_layer(&self) -> PathBuf {
        let digest = hex::encode(Sha256::digest(layer()));
        let folder = self.layout().join("layers/sha256").join(digest);
        tar::Archive::new(&layer()[..]).unpack(&folder).unwrap();
        folder
    }

    /// Stops the daemon, only the daemon, and waits for the next one.
    pub async fn restart(&mut self) {
        let before = std::fs::metadata(self.path("daemon.log")).unwrap().len();
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let log = self.path("daemon.log");
        eventually("restart", || {
            let text = std::fs::read(&log).unwrap();
            let tail = String::from_utf8_lossy(&text[usize::try_from(before).unwrap()..]).into_owned();
            tail.contains("successfully booted")
        })
        .await;
        self.ready().await;
    }

    pub fn write_mirror(&self, host: &str, url: &str) -> PathBuf {
        let hosts = self.folder.path().join("hosts");
        let folder = hosts.join(registry::folder(host));
        std::fs::create_dir_all(&folder).unwrap();
        let mirror = registry::Endpoint { url: url.to_owned(), ..Default::default() };
        let text = registry::render(&registry::Registry {
            mirrors: vec![mirror],
            mirrors_only: true,
            ..Default::default()
        });
        std::fs::write(folder.join("hosts.toml"), text).unwrap();
        hosts
    }

    async fn ready(&self) {
        for _ in 0..600 {
            if self.client.healthy().await.unwrap_or(false) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{}", std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let name = self.cgroup.trim_start_matches('/').to_owned();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let group = hierarchy.path().join(&name);
            let _ = std::fs::remove_dir(group.join("a"));
            let _ = std::fs::remove_dir(group);
        }
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..600 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no {what}");
}

fn options(folder: &Path) -> Options {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    Options {
        root: path("root"),
        state: path("state"),
        socket: path("containerd.sock"),
        registries: path("hosts"),
        imports: Vec::new(),
        runc: String::new(),
        cri: Some(CriOptions {
            sandbox_image: "registry.k8s.io/pause:3.10".into(),
            cni_bin: vec![path("cni")],
            cni_conf: path("net.d"),
            restrict_oom_score: true,
            selinux: false,
            nri: false,
            base_spec: String::new(),
            cdi: Vec::new(),
            auths: BTreeMap::new(),
        }),
    }
}

fn write_layout(folder: &Path) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = hex::encode(Sha256::digest(bytes));
        std::fs::write(blobs.join(&digest), bytes).unwrap();
        (format!("sha256:{digest}"), bytes.len())
    };
    let (layer, layer_size) = blob(&layer());
    let architecture = corten_base::Arch::current();
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Entrypoint":["/bin/sh"]}},
            "rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#
    );
    let (config, config_size) = blob(config.as_bytes());
    let kind = "application/vnd.oci.image";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}.manifest.v1+json",
            "config":{{"mediaType":"{kind}.config.v1+json","digest":"{config}","size":{config_size}}},
            "layers":[{{"mediaType":"{kind}.layer.v1.tar","digest":"{layer}","size":{layer_size}}}]}}"#
    );
    let (manifest, manifest_size) = blob(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}.index.v1+json","manifests":[{{
            "mediaType":"{kind}.manifest.v1+json","digest":"{manifest}","size":{manifest_size},
            "annotations":{{"io.containerd.image.name":"{IMAGE}"}},
            "platform":{{"os":"linux","architecture":"{architecture}"}}}}]}}"#
    );
    std::fs::write(folder.join("index.json"), index).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn layer() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(6);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append_data(&mut header, "hello", &b"hello\n"[..]).unwrap();
    archive.into_inner().unwrap()
}
