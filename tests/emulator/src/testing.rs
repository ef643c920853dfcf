//! What several tests need.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use corten_api::machine::apply_configuration_request::Mode;
use corten_api::machine::{ApplyConfiguration, ApplyConfigurationRequest};
use corten_base::{Clock, Rng, Secret};
use corten_config::view::Pair;
use corten_config::{Contract, GenerateOptions, Generated, SecretsBundle, generate};
use corten_pki::{Authority, AuthorityKind, Identity, PrivateKey};
use semver::Version;
use tonic::Status;

use crate::kernel_args::KernelArgs;
use crate::machine::Machine;
use crate::options::{Options, Timing};
use crate::spec::{Model, Spec};
use crate::world::World;

/// The time of all tests.
pub fn now() -> SystemTime {
    Clock::fixed(1_800_000_000).now()
}

fn pair(kind: AuthorityKind) -> Pair {
    let authority = Authority::generate(kind, now(), &Rng::seeded(1)).expect("an authority");
    Pair {
        crt: authority.certificate().to_pem().into_bytes(),
        key: Secret::new(authority.key().to_pem().reveal().clone().into_bytes()),
    }
}

/// Secrets of a cluster; without RSA, which takes long.
pub fn bundle() -> &'static SecretsBundle {
    static BUNDLE: OnceLock<SecretsBundle> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        let text = |text: &str| Secret::new(text.to_owned());
        let service_account = PrivateKey::ecdsa_p256(&Rng::seeded(2)).expect("a key");
        SecretsBundle {
            cluster_id: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned(),
            cluster_secret: text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            bootstrap_token: text("abcdef.0123456789abcdef"),
            secretbox_secret: text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            aescbc_secret: Secret::default(),
            trustd_token: text("abcdef.0123456789abcdef"),
            etcd: pair(AuthorityKind::Etcd),
            kubernetes: pair(AuthorityKind::Kubernetes),
            aggregator: pair(AuthorityKind::Aggregator),
            service_account_key: Secret::new(service_account.to_pem().reveal().clone().into_bytes()),
            talos: pair(AuthorityKind::Talos),
        }
    })
}

fn options() -> GenerateOptions {
    GenerateOptions::new("demo", "https://[fdae:41e4:649b:9303::1]:10000")
}

fn generated() -> Generated {
    generate::generate(&options(), bundle())
}

/// Configurations in the form of a contract, which install this version of Talos.
pub fn of_contract(contract: Contract, version: &str) -> Generated {
    let install_image = format!("ghcr.io/siderolabs/installer:v{version}");
    generate::generate(&GenerateOptions { contract, install_image, ..options() }, bundle())
}

/// A configuration of a control plane.
pub fn control_plane() -> String {
    generated().controlplane.reveal().clone()
}

/// A configuration of a worker.
pub fn worker() -> String {
    generated().worker.reveal().clone()
}

/// A client certificate with these roles.
pub fn client(roles: &[&str]) -> Identity {
    let lifetime = Duration::from_secs(3600);
    bundle().client(roles, lifetime, now(), &Rng::seeded(3)).expect("a certificate")
}

/// A world without a namespace, in which nothing takes long.
pub fn world() -> Arc<World> {
    let options = Options {
        clock: Clock::fixed(1_800_000_000),
        rng: Rng::seeded(4),
        timing: Timing::fast(),
        ..Options::new(None)
    };
    World::without_network(options)
}

/// A machine of this version that nobody runs, and that joins here.
pub fn machine_that_joins(world: &Arc<World>, number: u32, version: Version, join: &str) -> Arc<Machine> {
    let args = KernelArgs::parse(&format!("siderolink.api={join}")).expect("arguments");
    let spec = Spec::new(1, number, Arc::new(Model::new(args, version)));
    Machine::new(spec, Arc::clone(world))
}

/// A machine of 1.14 that nobody runs.
pub fn machine(world: &Arc<World>, number: u32) -> Arc<Machine> {
    machine_that_joins(world, number, Version::new(1, 14, 0), "grpc://127.0.0.1:1?jointoken=token")
}

/// Lets time pass until nothing happens by itself any more.
pub fn settle(machine: &Machine) {
    for _ in 0..8 {
        machine.elapse();
    }
}

/// Applies a configuration the way a manager does.
pub fn apply(machine: &Machine, text: &str) -> Result<ApplyConfiguration, Status> {
    machine.apply(&ApplyConfigurationRequest {
        data: text.to_owned().into_bytes().into(),
        mode: Mode::Auto.into(),
        ..ApplyConfigurationRequest::default()
    })
}
