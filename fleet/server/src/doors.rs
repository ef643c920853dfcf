//! What listens outside of the tunnel: opened before anything is given away, served when all is prepared.
//!
//! ```text
//! setting ─▶ Door (bound) ─▶ Waiting ─(all is prepared)─▶ task ─(stop)─▶ the end
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use corten_base::{Clock, Rng, Task, spawn};
use corten_fleet_api::metrics::Metrics;
use corten_fleet_api::serve::{Door, HttpService, OwnCertificate, Tls};
use corten_fleet_settings::{Listener, Settings};
use tokio::sync::watch;

use crate::endpoints;
use crate::failure::Failure;
use crate::paths::Paths;

/// A listener that is bound, and what it will serve.
pub struct Waiting {
    /// Its name, as others find it.
    pub name: &'static str,
    /// Where it is bound.
    pub address: SocketAddr,
    serve: Box<dyn FnOnce(watch::Receiver<bool>) -> Task + Send>,
}

impl Waiting {
    /// Serves until the stop.
    pub fn serve(self, stop: watch::Receiver<bool>) -> Task {
        (self.serve)(stop)
    }
}

/// Where something is to listen, and how.
pub struct Place {
    /// Its name, as others find it.
    pub name: &'static str,
    /// What it is, for messages.
    pub what: &'static str,
    /// The setting that says where.
    pub setting: &'static str,
    /// Where.
    pub endpoint: SocketAddr,
    /// How.
    pub tls: Tls,
}

impl Place {
    /// That of a listener of the settings.
    pub fn of(name: &'static str, what: &'static str, setting: &'static str, listener: &Listener) -> Self {
        Self { name, what, setting, endpoint: listener.endpoint, tls: Tls::of(listener.tls.clone()) }
    }

    /// That of the resources for programs on this host.
    pub const fn local(port: u16) -> Self {
        Self {
            name: "localResources",
            what: "resources for programs on this host",
            setting: "services.localResourceService.port",
            endpoint: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            tls: Tls::Clear,
        }
    }

    /// The same with a certificate of our own, if the settings want one and give none.
    pub fn with_own_certificate(self, own: Option<&OwnCertificate>) -> Self {
        match (&self.tls, own) {
            (Tls::Clear, Some(own)) => Self { tls: Tls::Own(own.clone()), ..self },
            _ => self,
        }
    }

    /// Binds it.
    ///
    /// # Errors
    /// When the address is taken, or TLS cannot be set up.
    pub async fn open(self, metrics: Arc<Metrics>, service: impl HttpService) -> Result<Waiting, Failure> {
        let Self { name, what, setting, endpoint, tls } = self;
        let opened = Door::open(endpoint, tls, metrics).await;
        let door =
            opened.map_err(|source| Failure::Door { name: what, setting, source: Box::new(source) })?;
        let address = door.address().map_err(|source| Failure::Host { what: "listen", source })?;
        let serve = move |stop| spawn(name, door.serve(service, stopped(stop)));
        Ok(Waiting { name, address, serve: Box::new(serve) })
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // Whoever stops it may be gone, which is a stop too.
    let _ = stop.wait_for(|is_stopped| *is_stopped).await;
}

/// The certificate that the manager makes itself, if the settings want one: for the API and for the Kubernetes proxy.
pub fn own_certificate(
    settings: &Settings,
    paths: &Paths,
    clock: &Clock,
    rng: &Rng,
) -> Option<OwnCertificate> {
    settings.services.api.has_own_certificate.then(|| OwnCertificate {
        folder: paths.certificate.clone(),
        names: endpoints::certificate_names(settings),
        clock: clock.clone(),
        rng: rng.clone(),
    })
}

#[cfg(test)]
mod tests {
    use corten_fleet_settings::TlsFiles;
    use tonic::service::Routes;

    use super::*;

    fn listener(text: &str) -> Listener {
        Listener { endpoint: text.parse().expect("an address"), tls: None }
    }

    async fn open(listener: &Listener) -> Result<Waiting, Failure> {
        let place = Place::of("api", "the API", "services.api.endpoint", listener);
        place.open(Arc::default(), Routes::default()).await
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_a_failure_and_a_door_ends_when_it_is_told() {
        let first = open(&listener("127.0.0.1:0")).await.expect("bound");
        let taken = listener(&first.address.to_string());
        let failure = open(&taken).await.err().expect("taken");
        assert!(failure.to_string().contains("another program is there"), "{failure}");
        let (stop, stopped) = watch::channel(false);
        let task = first.serve(stopped);
        stop.send(true).expect("told");
        task.join().await.expect("it ended by itself");
        open(&taken).await.expect("free again");
    }

    #[test]
    fn files_count_over_a_certificate_of_our_own() {
        let (mut settings, clock, rng) = (Settings::default(), Clock::fixed(1), Rng::seeded(1));
        let paths = Paths::of(&settings).expect("paths");
        assert!(own_certificate(&settings, &paths, &clock, &rng).is_none());
        settings.services.api.has_own_certificate = true;
        let own = own_certificate(&settings, &paths, &clock, &rng);
        let place = |listener: &Listener| {
            Place::of("api", "the API", "services.api.endpoint", listener).with_own_certificate(own.as_ref())
        };
        let mut listener = listener("127.0.0.1:0");
        assert!(matches!(place(&listener).tls, Tls::Own(_)));
        let files = TlsFiles { certificate: "a.crt".into(), key: "a.key".into() };
        listener.tls = Some(files);
        assert!(matches!(place(&listener).tls, Tls::Files(_)));
    }
}
