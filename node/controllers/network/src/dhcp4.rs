//! The client of DHCP for IPv4.

use anyhow::Context;
use corten_base::Backoff;
use corten_resources::network::{ClientIdentifier, Dhcp4Operator};
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4State};

use crate::dhcp::{Job, Progress, Report};
use crate::lease::{Lease, outcome};

/// Asks until something goes wrong.
///
/// # Errors
/// What went wrong.
pub async fn session(
    job: &Job,
    settings: &Dhcp4Operator,
    report: &Report,
    backoff: &mut Backoff,
) -> anyhow::Result<()> {
    let config = config(job, settings)?;
    let mut client = DhcpV4Client::init(config, None).await.context("failed to start the DHCP client")?;
    loop {
        match client.run().await.context("failed to get a lease")? {
            DhcpV4State::Done(lease) => {
                backoff.reset();
                let outcome = outcome(&job.link, settings, &Lease::from(lease.as_ref()));
                report.tell(Progress::Bound(Box::new(outcome)));
            }
            DhcpV4State::InitReboot if matches!(report.known(), Progress::Bound(_)) => {
                report.tell(Progress::Lost);
            }
            _ => {}
        }
    }
}

fn config(job: &Job, settings: &Dhcp4Operator) -> anyhow::Result<DhcpV4Config> {
    let mut config = DhcpV4Config::new(&job.link);
    config.set_iface_index(job.index);
    config.set_iface_mac_raw(&job.hardware_addr).context("the link has no Ethernet address")?;
    let identifier = &settings.client_identifier;
    match identifier.kind {
        ClientIdentifier::None => {}
        ClientIdentifier::Mac => {
            config.use_mac_as_client_id();
        }
        ClientIdentifier::Duid => {
            let duid = hex::decode(identifier.duid_raw_hex.replace(':', ""));
            let duid = duid.context("the DUID is not hexadecimal")?;
            // Type 255: an identifier of RFC 4361, which carries a DUID.
            config.set_client_id(255, &duid);
        }
    }
    Ok(config)
}
