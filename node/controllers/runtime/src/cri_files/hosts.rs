//! Where images of each registry come from, as containerd reads it: one `hosts.toml` for each registry, and beside it
//! the certificates for whoever is asked.
//!
//! The machine's own cache is asked first, then the mirrors, then the registry itself unless that is forbidden.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use corten_config::values;
use corten_config::view::{MirrorEndpoint, Registries, RegistryTls};
use corten_containerd::registry::{self, Endpoint, Registry, Tls};

/// The image cache of this machine, served by dataplane.
const CACHE: &str = "http://127.0.0.1:3172";
/// Stands for every registry that is not named.
const ANY: &str = "*";
/// The registry behind a name that is none itself.
pub const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Files below `folder` and their contents.
#[must_use]
pub fn files(folder: &Path, registries: &Registries) -> BTreeMap<PathBuf, String> {
    let mut hosts: BTreeSet<&str> = registries.mirrors.keys().map(String::as_str).collect();
    hosts.extend(registries.tls.keys().map(String::as_str));
    hosts.insert(ANY);
    let mut files = BTreeMap::new();
    for host in hosts {
        let text = registry::render(&registry_of(folder, host, registries));
        files.insert(folder.join(registry::folder(host)).join("hosts.toml"), text);
    }
    for (host, tls) in &registries.tls {
        certificates(&folder.join(registry::folder(host)), tls, &mut files);
    }
    files
}

fn registry_of(folder: &Path, host: &str, registries: &Registries) -> Registry {
    let mirror = registries.mirrors.get(host);
    let endpoints = mirror.map_or(&[][..], |mirror| mirror.endpoints.as_slice());
    let cache = Endpoint { url: CACHE.to_owned(), ..Endpoint::default() };
    let mirrors = endpoints.iter().map(|endpoint| Endpoint {
        url: endpoint.url.clone(),
        override_path: endpoint.override_path,
        tls: tls_of(folder, &host_of(endpoint), registries),
    });
    let tls = tls_of(folder, host, registries);
    let address = if host == DOCKER.0 { DOCKER.1 } else { host };
    Registry {
        // Only with certificates of its own must the registry be named; otherwise containerd knows it.
        server: if tls == Tls::default() { String::new() } else { format!("https://{address}") },
        mirrors_only: mirror.is_some_and(|mirror| mirror.skip_fallback),
        mirrors: std::iter::once(cache).chain(mirrors).collect(),
        tls,
    }
}

/// Host of a mirror as the configuration names it, with its port if one is given.
fn host_of(endpoint: &MirrorEndpoint) -> String {
    let Some(url) = values::url(&endpoint.url) else { return String::new() };
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host };
    url.port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
}

/// The certificates for a host, by the files in which they stand.
fn tls_of(folder: &Path, host: &str, registries: &Registries) -> Tls {
    let Some(tls) = registries.tls.get(host).filter(|_| host != ANY) else { return Tls::default() };
    let file = |name: &str, is_there: bool| {
        let path = folder.join(registry::folder(host)).join(name);
        if is_there { path.display().to_string() } else { String::new() }
    };
    let has_identity = tls.client_identity.is_some();
    Tls {
        ca: file("ca.crt", !tls.ca.is_empty()),
        cert: file("client.crt", has_identity),
        key: file("client.key", has_identity),
        skip_verify: tls.insecure_skip_verify,
    }
}

fn certificates(folder: &Path, tls: &RegistryTls, files: &mut BTreeMap<PathBuf, String>) {
    let mut add = |name: &str, pem: &[u8]| {
        if !pem.is_empty() {
            files.insert(folder.join(name), String::from_utf8_lossy(pem).into_owned());
        }
    };
    add("ca.crt", &tls.ca);
    if let Some(identity) = &tls.client_identity {
        add("client.crt", &identity.crt);
        add("client.key", identity.key.reveal());
    }
}

#[cfg(test)]
mod tests {
    use corten_base::Secret;
    use corten_config::view::{Mirror, Pair};

    use super::*;

    fn mirrored(url: &str) -> Registries {
        let endpoint = MirrorEndpoint { url: url.into(), override_path: false };
        let mirror = Mirror { endpoints: vec![endpoint], skip_fallback: true };
        Registries { mirrors: [("quay.io".to_owned(), mirror)].into(), ..Registries::default() }
    }

    fn render(registries: &Registries) -> BTreeMap<String, String> {
        let files = files(Path::new("/hosts"), registries);
        files.into_iter().map(|(path, text)| (path.display().to_string(), text)).collect()
    }

    #[test]
    fn the_cache_comes_before_the_mirrors() {
        let files = render(&mirrored("https://mirror.test"));
        let text = &files["/hosts/quay.io/hosts.toml"];
        let (cache, mirror) = (text.find(CACHE).expect("cache"), text.find("mirror.test").expect("mirror"));
        assert!(mirror < cache, "the last of mirrors that stand alone is the server: {text}");
        assert_eq!(
            files.keys().collect::<Vec<_>>(),
            ["/hosts/_default/hosts.toml", "/hosts/quay.io/hosts.toml"]
        );
    }

    #[test]
    fn certificates_are_for_whoever_is_asked() {
        let identity = Pair { crt: b"crt".to_vec(), key: Secret::new(b"key".to_vec()) };
        let tls = |identity| RegistryTls {
            ca: b"ca".to_vec(),
            client_identity: identity,
            insecure_skip_verify: false,
        };
        let mut registries = mirrored("https://mirror.test:5000");
        registries.tls.insert("mirror.test:5000".into(), tls(Some(identity)));
        registries.tls.insert("docker.io".into(), tls(None));
        registries
            .tls
            .insert("lab.test".into(), RegistryTls { insecure_skip_verify: true, ..RegistryTls::default() });
        let files = render(&registries);
        let mirror = &files["/hosts/quay.io/hosts.toml"];
        assert!(mirror.contains("ca = \"/hosts/mirror.test_5000_/ca.crt\""), "{mirror}");
        assert!(mirror.contains(
            "[[\"/hosts/mirror.test_5000_/client.crt\", \"/hosts/mirror.test_5000_/client.key\"]]"
        ));
        assert_eq!(files["/hosts/mirror.test_5000_/client.key"], "key");
        let docker = &files["/hosts/docker.io/hosts.toml"];
        assert!(
            docker
                .starts_with("server = \"https://registry-1.docker.io\"\nca = \"/hosts/docker.io/ca.crt\"\n")
        );
        assert!(docker.contains(CACHE), "{docker}");
        assert!(files["/hosts/lab.test/hosts.toml"].contains("skip_verify = true"));
    }
}
