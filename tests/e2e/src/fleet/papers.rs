//! A certificate for the manager from an authority of our own, as an operator would bring it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use corten_base::{Clock, Rng};
use corten_harness::TlsPair;
use corten_pki::{Authority, AuthorityKind, LeafRequest, Subject};

use crate::cluster::write_secret;

const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// ECDSA, which every client verifies.
const KIND: AuthorityKind = AuthorityKind::Aggregator;

/// Files with certificates.
#[derive(Clone, Debug)]
pub struct Papers {
    /// The authority's certificate, for clients.
    pub authority: PathBuf,
    /// Certificate and key of the manager.
    pub server: TlsPair,
}

impl Papers {
    /// Makes an authority and a certificate for these addresses. Those that are in the folder already are kept: a
    /// manager that is started again is the same to its clients.
    pub fn write(folder: &Path, addresses: &[IpAddr]) -> Result<Self> {
        let papers = Self {
            authority: folder.join("authority.crt"),
            server: TlsPair { certificate: folder.join("server.crt"), key: folder.join("server.key") },
        };
        if papers.server.key.exists() {
            return Ok(papers);
        }
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (now, rng) = (Clock::system().now(), Rng::kernel());
        let authority = Authority::generate(KIND, now, &rng).context("cannot make an authority")?;
        let request = LeafRequest::server(Subject::common_name("corten-fleet"), LIFETIME)
            .with_names(["localhost".to_owned()], addresses.iter().copied());
        let server = authority.issue(&request, now, &rng).context("cannot issue a certificate")?;
        write_secret(&papers.authority, &authority.certificate().to_pem())?;
        write_secret(&papers.server.certificate, &server.certificate.to_pem())?;
        write_secret(&papers.server.key, server.key.to_pem().reveal())?;
        Ok(papers)
    }
}
