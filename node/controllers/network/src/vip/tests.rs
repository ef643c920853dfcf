//! Several machines in one election, which a fake holds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use corten_resource::testing::resource;
use corten_resource::{AnyResource, Outcome};
use corten_resources::network::{LinkFlags, OperationalState};
use corten_resources::secrets::CertificateAndKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::*;
use crate::fake::{FakeKernel, address as on_link, link};
use crate::vip_candidate::Office;

const VIP: &str = "10.0.0.99";

/// One office; whoever asked first has it.
#[derive(Clone)]
struct Hall {
    office: Arc<Semaphore>,
    is_open: Arc<AtomicBool>,
    expel: Arc<Notify>,
}

impl Hall {
    fn new() -> Self {
        let is_open = Arc::new(AtomicBool::new(true));
        Self { office: Arc::new(Semaphore::new(1)), is_open, expel: Arc::default() }
    }
}

struct Held {
    _permit: OwnedSemaphorePermit,
    expel: Arc<Notify>,
}

impl Elections for Hall {
    type Office = Held;

    async fn win(&self, election: &str, _: &corten_etcd::Identity) -> anyhow::Result<Held> {
        assert_eq!(election, "talos:v1:vip:election:10.0.0.99");
        anyhow::ensure!(self.is_open.load(Ordering::SeqCst), "no quorum");
        let permit = self.office.clone().acquire_owned().await?;
        Ok(Held { _permit: permit, expel: self.expel.clone() })
    }
}

impl Office for Held {
    async fn lost(&self) {
        self.expel.notified().await;
    }

    async fn give_up(self) {}
}

/// What a machine sees of itself.
#[derive(Clone, Copy)]
struct Machine {
    etcd: bool,
    kubelet: bool,
    link: bool,
    stage: MachineStage,
    address: Address,
}

/// Where the address is on this machine.
#[derive(Clone, Copy, PartialEq)]
enum Address {
    Nowhere,
    /// On its link, because somebody wants it there.
    Wanted,
    /// On its link, and nobody says why.
    Left,
}

const WELL: Machine = Machine {
    etcd: true,
    kubelet: true,
    link: true,
    stage: MachineStage::Running,
    address: Address::Nowhere,
};

impl Machine {
    fn rows(self) -> Vec<AnyResource> {
        let vip = OperatorSpec::vip(Layer::Configuration, "eth0", VIP.parse().expect("ip"));
        let service = |is_well| Service { running: is_well, healthy: is_well, unknown: false };
        let pair = CertificateAndKey { crt: b"certificate".to_vec(), key: b"key".to_vec() };
        let link = LinkStatus {
            flags: if self.link { LinkFlags::UP } else { LinkFlags(0) },
            operational_state: OperationalState::Up,
            ..LinkStatus::default()
        };
        let mut rows = vec![
            resource(&vip.id(), vip),
            resource("eth0", link),
            resource(ETCD, service(self.etcd)),
            resource(KUBELET, service(self.kubelet)),
            resource("machine", MachineStatus { stage: self.stage, ..MachineStatus::default() }),
            resource(EtcdRoot::ID, EtcdRoot { etcd_ca: Some(pair.clone()) }),
            resource(EtcdSecrets::ID, EtcdSecrets { etcd_admin: Some(pair), ..EtcdSecrets::default() }),
        ];
        if self.address == Address::Wanted {
            let net = IpNet::from(VIP.parse::<IpAddr>().expect("ip"));
            let spec = AddressSpec::new(Layer::Operator, "eth0", net, Scope::GLOBAL);
            rows.push(resource(&spec.id(), spec));
        }
        rows
    }

    fn kernel(self) -> FakeKernel {
        let addresses = (self.address != Address::Nowhere).then(|| on_link("eth0", &format!("{VIP}/32")));
        FakeKernel::with([link("eth0", 2)], addresses)
    }
}

/// The addresses that the machine wants on its link, and why it wants none, after all that there was to do.
async fn look(vip: &mut Vip<Hall, FakeKernel>, machine: Machine) -> (Vec<AddressSpec>, Outcome) {
    let view = View::of(machine.rows(), UNIX_EPOCH);
    vip.kernel = machine.kernel();
    loop {
        let observed = vip.observe(&view).await.expect("seen");
        let plan = vip.plan(&view, &observed);
        let ops = plan.ops().to_vec();
        if ops.is_empty() {
            let specs = plan.outputs::<AddressSpec>().iter().map(|row| row.spec.clone()).collect();
            return (specs, plan.outcome());
        }
        for op in ops {
            vip.apply(op).await.expect("done");
        }
    }
}

/// Waits for news of the election.
async fn news(vip: &Vip<Hall, FakeKernel>) {
    tokio::time::timeout(Duration::from_secs(60), vip.changed.notified()).await.expect("news in time");
}

fn vip(hall: &Hall) -> Vip<Hall, FakeKernel> {
    Vip::new(hall.clone(), WELL.kernel(), Rng::seeded(1))
}

#[tokio::test(start_paused = true)]
async fn one_machine_has_the_address_and_lets_go_of_it_before_the_next_has_it() {
    let hall = Hall::new();
    let (mut one, mut two) = (vip(&hall), vip(&hall));
    look(&mut one, WELL).await;
    news(&one).await;
    look(&mut two, WELL).await;
    let (held, _) = look(&mut one, WELL).await;
    let [address] = &held[..] else { panic!("one address") };
    assert_eq!((address.address.to_string().as_str(), address.announce_with_arp), ("10.0.0.99/32", true));
    assert_eq!((address.link_name.as_str(), address.layer), ("eth0", Layer::Operator));
    assert!(look(&mut two, WELL).await.0.is_empty());

    // The kubelet stops: the address goes first, then the office.
    let leaving = Machine { kubelet: false, address: Address::Wanted, ..WELL };
    let (held, outcome) = look(&mut one, leaving).await;
    assert!(held.is_empty());
    assert!(matches!(outcome, Outcome::Waiting(why) if why.contains("10.0.0.99 to leave its link")));
    assert_eq!(hall.office.available_permits(), 0);
    look(&mut one, Machine { address: Address::Nowhere, ..leaving }).await;
    news(&two).await;
    assert_eq!(look(&mut two, WELL).await.0.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_election_that_is_lost_takes_the_address_away() {
    let hall = Hall::new();
    let mut machine = vip(&hall);
    look(&mut machine, WELL).await;
    news(&machine).await;
    assert_eq!(look(&mut machine, WELL).await.0.len(), 1);
    // Nobody else may have the office meanwhile, or it would be won again at once.
    hall.is_open.store(false, Ordering::SeqCst);
    hall.expel.notify_one();
    news(&machine).await;
    let (held, _) = look(&mut machine, WELL).await;
    assert!(held.is_empty());
    hall.is_open.store(true, Ordering::SeqCst);
    while look(&mut machine, WELL).await.0.is_empty() {
        news(&machine).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_serve_does_not_stand_and_says_why() {
    let hall = Hall::new();
    for (machine, why) in [
        (Machine { etcd: false, ..WELL }, "etcd"),
        (Machine { kubelet: false, ..WELL }, "the kubelet"),
        (Machine { link: false, ..WELL }, "link eth0"),
        (Machine { stage: MachineStage::Rebooting, ..WELL }, "this machine to be back"),
    ] {
        let mut vip = vip(&hall);
        let (_, outcome) = look(&mut vip, machine).await;
        assert_eq!(outcome, Outcome::Waiting(why.to_owned()));
        assert!(vip.candidates.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_life_left_on_a_link_goes_as_long_as_another_one_holds_it() {
    let hall = Hall::new();
    let taken = hall.office.clone().acquire_owned().await.expect("the office");
    let mut machine = vip(&hall);
    let left = Machine { address: Address::Left, ..WELL };
    assert!(look(&mut machine, left).await.0.is_empty());
    assert!(machine.kernel.look().addresses.is_empty());
    drop(taken);
    news(&machine).await;
    assert_eq!(look(&mut machine, left).await.0.len(), 1);
    assert_eq!(machine.kernel.look().addresses.len(), 1, "what is held stays");
}
