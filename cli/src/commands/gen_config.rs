//! `gen config`: configurations of a new cluster, and access to it.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, ValueEnum};
use corten_base::Secret;
use corten_config::{Contract, GenerateOptions, Patch, SecretsBundle, defaults, generate};

use super::gen_secrets::new_secrets;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::machineconfig::{expect_free, patched, read_file, read_patches, write_file};

/// Make the machine configurations of a new cluster, and a talosconfig to reach it.
///
/// ENDPOINT is the URL of the Kubernetes API: a load balancer, or a control plane with port 6443.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten gen config home https://10.5.0.2:6443\n  corten gen config home https://10.5.0.2:6443 --config-patch @mirror.yaml -o out/\n  corten gen config home https://10.5.0.2:6443 -t worker -o -"
)]
pub struct GenConfig {
    /// Name of the cluster.
    #[arg(value_name = "CLUSTER")]
    cluster_name: String,
    /// URL of the Kubernetes API.
    #[arg(value_parser = parse_endpoint)]
    endpoint: String,
    /// Folder to write to; for a single type a file, or `-` for standard output.
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// What to make.
    #[arg(short = 't', long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL, value_name = "TYPE")]
    output_types: Vec<Kind>,
    /// Secrets made by `corten gen secrets`, instead of new ones.
    #[arg(long, value_name = "FILE")]
    with_secrets: Option<PathBuf>,
    #[command(flatten)]
    patches: Patches,
    #[command(flatten)]
    options: Options,
}

/// Patches of the configurations.
#[derive(Args, Debug)]
struct Patches {
    /// Patch of all configurations: text, or @FILE. May be repeated.
    #[arg(long, value_name = "PATCH")]
    config_patch: Vec<String>,
    /// Patch of the configuration of control planes.
    #[arg(long, value_name = "PATCH")]
    config_patch_control_plane: Vec<String>,
    /// Patch of the configuration of workers.
    #[arg(long, value_name = "PATCH")]
    config_patch_worker: Vec<String>,
}

/// What the cluster shall be like.
#[derive(Args, Debug)]
struct Options {
    /// More names and addresses for the certificates of both APIs.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    additional_sans: Vec<String>,
    /// DNS domain of the cluster.
    #[arg(long, default_value = defaults::DNS_DOMAIN, value_name = "DOMAIN")]
    dns_domain: String,
    /// Disk to install to.
    #[arg(long, default_value = defaults::INSTALL_DISK, value_name = "DEVICE")]
    install_disk: String,
    /// Installer image.
    #[arg(long, value_name = "IMAGE")]
    install_image: Option<String>,
    /// Version of Kubernetes.
    #[arg(long, default_value = defaults::KUBERNETES_VERSION, value_name = "VERSION")]
    kubernetes_version: String,
    /// Version of Talos whose form of configurations is wanted, instead of the newest that machines read.
    #[arg(long, value_parser = parse_contract, value_name = "VERSION")]
    talos_version: Option<Contract>,
    /// Mirror of a registry, as HOST=URL. May be repeated.
    #[arg(long, value_delimiter = ',', value_parser = parse_mirror, value_name = "HOST=URL")]
    registry_mirror: Vec<(String, String)>,
    /// Let machines find each other through the discovery service.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    with_cluster_discovery: bool,
    /// Taken for scripts that pass it; configurations are written without comments.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    with_docs: Option<bool>,
    /// Taken for scripts that pass it; configurations are written without comments.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    with_examples: Option<bool>,
}

/// What can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Configuration of control planes.
    #[value(name = "controlplane")]
    ControlPlane,
    /// Configuration of workers.
    Worker,
    /// Client configuration of an administrator.
    Talosconfig,
}

impl Kind {
    const ALL: [Self; 3] = [Self::ControlPlane, Self::Worker, Self::Talosconfig];

    fn file(self) -> &'static str {
        match self {
            Self::ControlPlane => "controlplane.yaml",
            Self::Worker => "worker.yaml",
            Self::Talosconfig => "talosconfig",
        }
    }
}

fn parse_endpoint(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").unwrap_or_default();
    if host.is_empty() || host.starts_with([':', '/']) {
        return Err(format!(
            "it is a URL such as https://{}:6443",
            text.trim_start_matches("http://").split(':').next().unwrap_or_default()
        ));
    }
    Ok(text.to_owned())
}

fn parse_contract(text: &str) -> Result<Contract, String> {
    let contract: Contract = text.parse().map_err(|error: corten_config::NotAContract| error.to_string())?;
    if contract > Contract::OURS {
        return Err(format!("machines read forms up to that of {}", Contract::OURS));
    }
    Ok(contract)
}

fn parse_mirror(text: &str) -> Result<(String, String), String> {
    let (host, url) = text.split_once('=').ok_or("it is HOST=URL")?;
    if host.is_empty() || !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err("it is HOST=URL, as docker.io=https://mirror.example".to_owned());
    }
    Ok((host.to_owned(), url.to_owned()))
}

impl GenConfig {
    /// Makes and writes them.
    pub fn write(self, cx: &Cx, force: bool) -> Result<(), Failure> {
        let single = match self.output_types.as_slice() {
            [_] => self.output.clone(),
            _ => None,
        };
        let paths: Vec<PathBuf> =
            self.output_types.iter().map(|kind| self.path(*kind, single.as_ref())).collect();
        paths.iter().try_for_each(|path| expect_free(path, force))?;
        let texts = self.texts(cx)?;
        for (path, text) in paths.iter().zip(texts) {
            if path == Path::new("-") {
                cx.print(text.reveal())?;
            } else {
                write_file(path, text.reveal(), force)?;
                cx.say(format!("Created {}", path.display()));
            }
        }
        Ok(())
    }

    fn path(&self, kind: Kind, single: Option<&PathBuf>) -> PathBuf {
        match single {
            Some(path) if !path.is_dir() => path.clone(),
            _ => self.output.clone().unwrap_or_default().join(kind.file()),
        }
    }

    fn texts(&self, cx: &Cx) -> Result<Vec<Secret<String>>, Failure> {
        let secrets = match &self.with_secrets {
            None => new_secrets(cx)?,
            Some(path) => {
                SecretsBundle::parse(&read_file(path)?).or_fail(format!("cannot use `{}`", path.display()))?
            }
        };
        let generated = generate::generate(&self.generate_options(), &secrets);
        let all = read_patches(&self.patches.config_patch)?;
        let one = |kind: &Kind| match kind {
            Kind::ControlPlane => {
                patch(&generated.controlplane, &all, &self.patches.config_patch_control_plane, kind.file())
            }
            Kind::Worker => patch(&generated.worker, &all, &self.patches.config_patch_worker, kind.file()),
            Kind::Talosconfig => {
                generate::talosconfig(&self.cluster_name, &[], &secrets, cx.clock.now(), &cx.rng)
                    .or_fail("cannot make the talosconfig")
            }
        };
        self.output_types.iter().map(one).collect()
    }

    fn generate_options(&self) -> GenerateOptions {
        let Options {
            additional_sans,
            dns_domain,
            install_disk,
            install_image,
            kubernetes_version,
            talos_version,
            registry_mirror,
            ..
        } = &self.options;
        let usual = GenerateOptions::new(&self.cluster_name, &self.endpoint);
        GenerateOptions {
            contract: talos_version.unwrap_or(usual.contract),
            kubernetes_version: kubernetes_version.trim_start_matches('v').to_owned(),
            install_disk: install_disk.clone(),
            install_image: install_image.clone().unwrap_or(usual.install_image),
            dns_domain: dns_domain.clone(),
            additional_sans: additional_sans.clone(),
            registry_mirrors: registry_mirror.clone(),
            discovery: self.options.with_cluster_discovery,
            ..usual
        }
    }
}

fn patch(
    text: &Secret<String>,
    all: &[Patch],
    own: &[String],
    file: &str,
) -> Result<Secret<String>, Failure> {
    let patches: Vec<Patch> = all.iter().cloned().chain(read_patches(own)?).collect();
    patched(text.reveal(), &patches, file).map(Secret::new).or_fail(format!("cannot patch {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls_and_mirrors_are_pairs() {
        assert!(parse_endpoint("https://10.5.0.2:6443").is_ok());
        assert_eq!(
            parse_endpoint("10.5.0.2:6443").expect_err("no scheme"),
            "it is a URL such as https://10.5.0.2:6443"
        );
        assert!(parse_endpoint("https://:6443").is_err());
        assert_eq!(parse_mirror("docker.io=http://m:5000").expect("a pair").1, "http://m:5000");
        assert!(parse_mirror("docker.io").is_err() && parse_mirror("docker.io=m").is_err());
    }

    #[test]
    fn forms_are_those_that_machines_read() {
        assert_eq!(parse_contract("v1.12"), Ok(Contract::new(1, 12)));
        let newer = Contract::new(2, 0);
        assert!(parse_contract(&newer.to_string()).expect_err("too new").contains("v1."));
        assert!(parse_contract("latest").is_err());
    }
}
