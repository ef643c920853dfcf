//! A link that the manager keeps is a machine.
//!
//! ```text
//! Link (held) ──▶ Machine, both with the machine's UUID
//! ```

use corten_fleet_resources::labels;
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::Machine;
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, View, controller};

/// Labels of a link that its machine has too.
const COPIED: [&str; 2] = [labels::INFRA_PROVIDER_ID, labels::MACHINE_REQUEST];

/// Makes a machine of each link.
#[derive(Debug)]
pub struct MachineController;

controller!(MachineController, "MachineController", inputs: [strong Link], outputs: [exclusive Machine]);

impl ItemTransform for MachineController {
    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(link) = view.get::<Link>(item) else { return plan };
        let address = match link.address() {
            Ok(address) => address.to_string(),
            Err(error) => return plan.failed(error.to_string()),
        };
        let machine = Machine {
            management_address: address.clone(),
            connected: link.connected,
            use_grpc_tunnel: !link.virtual_addr_port.is_empty(),
        };
        plan.put_with(item, machine, |metadata| {
            metadata.labels.insert(labels::ADDRESS.to_owned(), address);
            for key in COPIED {
                if let Some(value) = link.metadata.labels.get(key) {
                    metadata.labels.insert(key.to_owned(), value.clone());
                }
            }
        });
        plan
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    fn link() -> Link {
        Link { node_subnet: "fdae::7/64".to_owned(), connected: true, ..Link::default() }
    }

    fn started() -> TestRuntime {
        TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(MachineController);
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_has_the_address_of_its_link_and_says_who_made_it() {
        let runtime = started();
        runtime.put(resource("uuid", link()).edit(|metadata| {
            metadata.labels.insert(labels::MACHINE_REQUEST.to_owned(), "set-abc123".to_owned());
        }));
        runtime.quiet().await;
        let machine = runtime.state().get::<Machine>("uuid").expect("a machine");
        assert_eq!((machine.management_address.as_str(), machine.connected), ("fdae::7", true));
        let label = |key: &str| machine.metadata.labels.get(key).map(String::as_str);
        assert_eq!(
            (label(labels::ADDRESS), label(labels::MACHINE_REQUEST)),
            (Some("fdae::7"), Some("set-abc123"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_goes_only_after_its_machine() {
        let runtime = started();
        runtime.put(resource("uuid", link()));
        runtime.quiet().await;
        let machine = runtime.state().get::<Machine>("uuid").expect("a machine").metadata.pointer();
        runtime.state().add_finalizer(&machine, "cluster").expect("held");
        runtime.state().remove::<Link>("", "uuid").expect("torn down");
        runtime.quiet().await;
        let link = runtime.state().get::<Link>("uuid").expect("its machine is still held");
        assert_eq!(link.metadata.finalizers, ["MachineController"]);
        runtime.state().remove_finalizer(&machine, "cluster").expect("released");
        runtime.quiet().await;
        runtime.state().remove::<Link>("", "uuid").expect("removed");
        assert!(runtime.state().get::<Link>("uuid").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_with_a_bad_address_says_so_and_its_machine_stays() {
        let runtime = started();
        runtime.put(resource("uuid", link()));
        runtime.quiet().await;
        runtime.put(resource("uuid", Link { node_subnet: "nowhere".to_owned(), ..link() }));
        runtime.quiet().await;
        assert!(runtime.state().get::<Machine>("uuid").is_some());
        let status = runtime.status("MachineController/uuid").expect("a status");
        assert!(status.reason.contains("nowhere"), "{}", status.reason);
    }
}
