//! What a person at the console wants to know: where the machine is on its way, and what it waits for.

use corten_pki::Certificate;
use corten_resource::State;
use corten_resources::runtime::{
    MachineStage, MachineStatus, MaintenanceServiceConfig, MaintenanceServiceRequest,
};
use corten_resources::secrets::ApiCertificate;
use corten_resources::siderolink::SiderolinkConfig;

/// Tells about stages, readiness and maintenance, for ever.
pub async fn tell(state: State) {
    tokio::join!(tell_status(&state), tell_maintenance(&state));
}

async fn tell_status(state: &State) {
    let mut last = None;
    loop {
        let status = state.wait_for::<MachineStatus>("machine", |status| {
            status.is_some_and(|status| last != Some((status.stage, status.status.ready)))
        });
        let status = status.await.spec;
        tracing::info!("{}", describe(&status));
        last = Some((status.stage, status.status.ready));
    }
}

fn describe(status: &MachineStatus) -> String {
    let stage = match status.stage {
        MachineStage::Unknown => "not known",
        MachineStage::Booting => "booting",
        MachineStage::Installing => "installing",
        MachineStage::Maintenance => "in maintenance",
        MachineStage::Running => "running",
        MachineStage::Rebooting => "rebooting",
        MachineStage::ShuttingDown => "shutting down",
        MachineStage::Resetting => "resetting",
        MachineStage::Upgrading => "upgrading",
    };
    match status.stage {
        MachineStage::Running if status.status.ready => "the machine is running and ready".to_owned(),
        MachineStage::Running => "the machine is running and not ready".to_owned(),
        _ => format!("the machine is {stage}"),
    }
}

/// Whenever the machine waits for a configuration, how to bring it one. Told again when it gets other addresses.
async fn tell_maintenance(state: &State) {
    let mut told = None;
    loop {
        state.wait_for::<MaintenanceServiceRequest>("maintenance", |request| request.is_some()).await;
        let service = state.wait_for::<MaintenanceServiceConfig>("maintenance", |service| {
            service.is_some_and(|service| {
                !service.reachable_addresses.is_empty() && told.as_ref() != Some(&service.reachable_addresses)
            })
        });
        let addresses = service.await.spec.reachable_addresses;
        let certificate = state.wait_for::<ApiCertificate>(ApiCertificate::ID, |certificate| {
            certificate.is_some_and(|certificate| certificate.server.is_some())
        });
        let manager = state.get::<SiderolinkConfig>(SiderolinkConfig::ID);
        match manager {
            Some(manager) => tell_who(&manager.spec.host, &addresses),
            None => tell_how(&addresses, &certificate.await.spec),
        }
        told = Some(addresses);
    }
}

/// A machine with a manager is configured by it alone.
fn tell_who(manager: &str, addresses: &[std::net::IpAddr]) {
    let Some(node) = addresses.first() else { return };
    tracing::info!("this machine waits for its manager {manager}, which knows it by the address {node}");
}

fn tell_how(addresses: &[std::net::IpAddr], certificate: &ApiCertificate) {
    let Some(node) = addresses.first() else { return };
    tracing::info!(
        "this machine waits for a configuration: talosctl apply-config --insecure --nodes {node} --file …"
    );
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    tracing::info!("its addresses: {}", all.join(", "));
    let server = certificate.server.as_ref();
    if let Some(Ok(server)) = server.map(|server| Certificate::from_pem(&server.crt)) {
        tracing::info!("its certificate: --cert-fingerprint {}", server.fingerprint());
    }
}

#[cfg(test)]
mod tests {
    use corten_resources::runtime::MachineStatusStatus;

    use super::*;

    #[test]
    fn a_running_machine_tells_whether_it_is_ready() {
        let status = |stage, ready| MachineStatus {
            stage,
            status: MachineStatusStatus { ready, ..MachineStatusStatus::default() },
        };
        assert_eq!(describe(&status(MachineStage::Running, true)), "the machine is running and ready");
        assert_eq!(describe(&status(MachineStage::Running, false)), "the machine is running and not ready");
        assert_eq!(describe(&status(MachineStage::Booting, true)), "the machine is booting");
    }
}
