//! The one place where everything is put together, in the order in which it depends on each other.
//!
//! ```text
//! storage ─▶ records ─▶ link (tunnel, services for machines) ─▶ controllers ─▶ proxies ─▶ doors ─▶ first start
//! ```
//!
//! Nothing is served before the end, so that a start that fails on the way has given nothing away.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use corten_base::{Clock, Rng, Secret, Task, spawn};
use corten_fleet_api::first_start::Start;
use corten_fleet_api::management::FactoryUrls;
use corten_fleet_link::AddressPlan;
use corten_fleet_media::{Factory, Options as FactoryOptions};
use corten_fleet_proxy::{ClusterCredentials, CredentialOptions, JwtKeys, KubernetesParts, TalosParts};
use corten_fleet_resources::system::DbVersion;
use corten_fleet_settings::{Settings, TunnelStack};
use corten_fleet_siderolink::{Outlets, Services};
use corten_fleet_tunnel::{StackChoice, Tunnel, TunnelOptions};
use corten_resource::{Runtime, State, StateError};

use crate::discovery::Kept;
use crate::doors::Waiting;
use crate::events::Stages;
use crate::failure::Failure;
use crate::outside::{Behind, Outside};
use crate::paths::Paths;
use crate::ready::Ready;
use crate::records::{Closing, Records};
use crate::siderolink::{Identity, Reach};
use crate::storage::{Keeping, Stored};
use crate::versions::Versions;
use crate::{authorities, controllers, endpoints, expired_keys, machine_logs, outside, publish, siderolink};

/// Why a first start is not one.
const NOT_KEPT: &str = "what the first start wrote was not kept; see the log, mend its disk, and start again";

/// What everything is made from.
pub struct Base {
    /// The configuration.
    pub settings: Settings,
    /// Where files are.
    pub paths: Paths,
    /// Versions that are offered.
    pub versions: Versions,
    /// The manager's own program, which is also that of its children.
    pub program: PathBuf,
    /// Wall clock.
    pub clock: Clock,
    /// Source of keys.
    pub rng: Rng,
}

/// A manager that is put together and prepared: nobody is served yet.
pub struct Manager {
    /// What others are told.
    pub ready: Ready,
    /// What listens.
    pub doors: Vec<Waiting>,
    /// The controllers.
    pub runtime: Runtime,
    /// The services in the tunnel.
    pub services: Services,
    /// Where what machines tell goes.
    pub outlets: Outlets,
    /// What runs beside.
    pub background: Vec<Task>,
    /// The discovery service, if there is one.
    pub discovery: Option<Kept>,
    /// Ends logs.
    pub closing: Closing,
    /// The store.
    pub state: State,
    /// Keeps the store.
    pub keeping: Keeping,
}

/// Ways to machines.
struct Link {
    identity: Identity,
    tunnel: Tunnel,
    /// Where WireGuard listens.
    bound: SocketAddr,
    /// Where machines reach it.
    advertised: Vec<String>,
}

/// Puts a manager together over its store.
///
/// # Errors
/// When something of it cannot be opened, or the first start fails.
pub async fn wire(base: &Base, stored: Stored) -> Result<Manager, Failure> {
    let Base { settings, clock, rng, .. } = base;
    let Stored { state, keeping, keys, .. } = stored;
    let is_first = state.get::<DbVersion>(DbVersion::ID).is_none();
    let records = Records::open(settings, &base.paths, &keys, clock, rng)?;
    let link = open_link(base, &state).await?;
    let discovery = open_discovery(base).await;
    let (runtime, events, ways) = controllers::register(
        &state,
        controllers::Needs {
            settings,
            tunnel: link.tunnel.clone(),
            address: AddressPlan::default().server(),
            discovery: discovery.as_ref().map(|kept| kept.service().clone()),
            authorities: authorities::of_host(),
            clock: clock.clone(),
            rng: rng.clone(),
        },
    )?;
    let service_settings = siderolink::service_settings(settings, &link.identity, &link.advertised);
    let services =
        Services::new(state.clone(), link.tunnel.clone(), clock.clone(), rng.clone(), service_settings);
    let behind = open_behind(base, &state, &link.tunnel, &records)?;
    let background = background(base, &state, &records, discovery.as_ref(), &behind.keys);
    let Records { sink, reader, audit, audit_log, closing, .. } = records;
    let outlets = Outlets {
        snapshots: Arc::new(Stages::new(events)),
        logs: Arc::new(sink),
        discovery: discovery.as_ref().map(|kept| kept.service().clone()),
    };
    let ways = Arc::new(ways);
    let factory = open_factory(base, &keys.media)?;
    let outside = Outside {
        base,
        state: &state,
        services: &services,
        tunnel: &link.tunnel,
        audit,
        audit_log,
        reader,
        behind,
        ways,
        factory,
    };
    let doors = outside.open().await?;
    let ready = prepare(base, &state, &link, &doors, is_first).await?;
    Ok(Manager { ready, doors, runtime, services, outlets, background, discovery, closing, state, keeping })
}

/// Opens the tunnel with the key that machines know.
async fn open_link(base: &Base, state: &State) -> Result<Link, Failure> {
    let settings = &base.settings.services.siderolink;
    let identity = Identity::of(state, &base.rng)?;
    let address = settings.wireguard_endpoint;
    let options = TunnelOptions {
        key: identity.key.clone(),
        address: AddressPlan::default().server(),
        listen: address,
        stack: match settings.tunnel_stack {
            TunnelStack::Auto => StackChoice::Auto,
            TunnelStack::Kernel => StackChoice::Kernel,
            TunnelStack::Userspace => StackChoice::UserSpace,
        },
        program: base.program.clone(),
        rng: base.rng.clone(),
    };
    let failed = |source| Failure::Tunnel { address, source };
    let tunnel = Tunnel::open(&options).await.map_err(failed)?;
    let bound = tunnel.local_addr().map_err(failed)?;
    Ok(Link { identity, tunnel, bound, advertised: endpoints::wireguard(settings, bound) })
}

async fn open_discovery(base: &Base) -> Option<Kept> {
    let settings = base.settings.services.embedded_discovery_service.as_ref()?;
    let path = base.paths.discovery.clone();
    Some(Kept::open(path, settings.snapshots_interval, &base.clock).await)
}

/// What makes installation media, if there are images to make them from.
fn open_factory(base: &Base, key: &Secret<[u8; 32]>) -> Result<Option<Factory>, Failure> {
    let Base { settings, paths, rng, .. } = base;
    if settings.media.images.is_empty() {
        return Ok(None);
    }
    let primary = &settings.registries.primary;
    let options = FactoryOptions {
        images: settings.media.images.clone(),
        folder: paths.media.clone(),
        cache_max: settings.media.max_size,
        urls: FactoryUrls {
            images: primary.url.clone(),
            network_boot: primary.pxe_url.clone().unwrap_or_else(|| primary.url.clone()),
        },
        key: key.clone(),
    };
    Ok(Some(Factory::open(options, rng.clone())?))
}

/// The ways through the manager.
fn open_behind(base: &Base, state: &State, tunnel: &Tunnel, records: &Records) -> Result<Behind, Failure> {
    let Base { settings, clock, rng, .. } = base;
    let keys = JwtKeys::new(state.clone(), clock.clone());
    let log = records.access.clone();
    let machines = TalosParts {
        state: state.clone(),
        streams: tunnel.clone(),
        clock: clock.clone(),
        rng: rng.clone(),
        log: log.clone(),
    }
    .proxy()?;
    let kubernetes = KubernetesParts {
        state: state.clone(),
        streams: tunnel.clone(),
        clock: clock.clone(),
        keys: keys.clone(),
        log,
    }
    .proxy();
    let credentials = ClusterCredentials {
        state: state.clone(),
        clock: clock.clone(),
        rng: rng.clone(),
        keys: keys.clone(),
        audit: records.audit.clone(),
        // The authority of a certificate of our own is there when the first door is open.
        options: CredentialOptions::of(settings, Vec::new()),
    };
    Ok(Behind { machines, kubernetes, credentials, keys })
}

/// What runs for ever beside what is served.
fn background(
    base: &Base,
    state: &State,
    records: &Records,
    discovery: Option<&Kept>,
    keys: &JwtKeys,
) -> Vec<Task> {
    let every = base.settings.auth.key_pruning_interval;
    let (state, clock, keys) = (state.clone(), base.clock.clone(), keys.clone());
    let mut tasks = vec![
        spawn("logs of removed machines", machine_logs::forget(state.clone(), records.logs.clone())),
        spawn("expired keys", expired_keys::run(state, clock, every)),
        spawn("expired keys of tokens", async move { keys.prune().await }),
    ];
    if let Some(kept) = discovery {
        tasks.push(spawn("discovery", kept.service().clone().run()));
        tasks.push(spawn("discovery snapshots", kept.clone().run()));
    }
    tasks
}

/// Writes what every start writes and, on the first one, lets the first administrator and the first machines in.
async fn prepare(
    base: &Base,
    state: &State,
    link: &Link,
    doors: &[Waiting],
    is_first: bool,
) -> Result<Ready, Failure> {
    let Base { settings, paths, clock, rng, .. } = base;
    let machine_api = outside::machine_api_url(settings, doors);
    let reach = Reach {
        wireguard: link.bound,
        advertised: link.advertised.clone(),
        machine_api: machine_api.clone(),
    };
    siderolink::publish(state, settings, &link.identity, &reach).await.map_err(Failure::Write)?;
    Start { state, settings, clock, rng }.prepare().await?;
    if state.get::<DbVersion>(DbVersion::ID).is_none() {
        return Err(Failure::Write(StateError::Unavailable(NOT_KEPT.to_owned())));
    }
    publish::publish(state, settings, &base.versions).await.map_err(Failure::Write)?;
    let wireguard = ("wireguard", link.bound);
    let account = settings.auth.initial_service_account.as_ref();
    Ok(Ready {
        listeners: doors.iter().map(|door| (door.name, door.address)).chain([wireguard]).collect(),
        api_url: outside::api_url(settings, doors),
        machine_api_url: machine_api,
        tunnel_address: AddressPlan::default().server(),
        key_file: account.map(|account| account.key_path.clone()),
        authority: settings.services.api.has_own_certificate.then(|| paths.authority()),
        is_first,
    })
}
