//! What whoever starts the manager should know of the configuration before somebody finds out.
//!
//! ```text
//! Settings ─▶ what is in clear, what nobody else can reach, what does not go together ─▶ one sentence each
//! ```

use corten_fleet_settings::Settings;

use crate::endpoints::is_local;

const API_URL: &str = "services.api.advertisedURL";
const MACHINE_URL: &str = "services.machineAPI.advertisedURL";
const API_IN_CLEAR: &str = "the API is in clear: put a proxy with TLS in front, give \
                            services.api.certFile and keyFile, or set services.api.ownCertificate";
const KUBERNETES_IN_CLEAR: &str = "Kubernetes is proxied in clear, and kubectl wants TLS: put a proxy in \
                                   front, give services.kubernetesProxy.certFile and keyFile, or set \
                                   services.api.ownCertificate";

/// What should be known, in the order of the settings.
pub fn notices(settings: &Settings) -> Vec<String> {
    let services = &settings.services;
    let (api, proxy, machines) = (&services.api, &services.kubernetes_proxy, &services.machine_api);
    let speaks_tls = api.listener.tls.is_some() || api.has_own_certificate;
    let mut notices = Vec::new();
    if !speaks_tls && !api.listener.endpoint.ip().is_loopback() {
        notices.push(API_IN_CLEAR.to_owned());
    }
    let url = &api.advertised_url;
    if speaks_tls && url.starts_with("http://") {
        notices.push(format!("clients are told {url}, where TLS is spoken: set {API_URL} to one with https"));
    } else if is_local(url) {
        notices.push(format!("people are told {url}, which this host alone reaches: set {API_URL}"));
    }
    if proxy.listener.tls.is_none() && !api.has_own_certificate {
        notices.push(KUBERNETES_IN_CLEAR.to_owned());
    }
    if is_local(&machines.advertised_url) {
        let url = &machines.advertised_url;
        notices.push(format!("machines are told {url}, which this host alone reaches: set {MACHINE_URL}"));
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_for_one_host_and_say_so() {
        let notices = notices(&Settings::default());
        assert_eq!(notices.len(), 4, "{notices:?}");
        assert!(notices[0].starts_with("the API is in clear"), "{notices:?}");
        assert!(notices[1].contains("http://localhost:8080"), "{notices:?}");
        assert!(notices[3].contains("http://localhost:8090"), "{notices:?}");
    }

    #[test]
    fn what_is_protected_and_reachable_needs_no_word() {
        let mut settings = Settings::default();
        settings.services.api.has_own_certificate = true;
        settings.services.machine_api.advertised_url = "https://fleet.example:8090".to_owned();
        let found = notices(&settings);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("set services.api.advertisedURL"), "{found:?}");
        settings.services.api.advertised_url = "https://fleet.example".to_owned();
        assert_eq!(notices(&settings), Vec::<String>::new());
    }
}
