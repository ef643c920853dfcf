//! What values of different settings must be to each other.

use std::net::SocketAddr;

use crate::values::Values;

/// Settings of which both are set, or none.
const PAIRS: &[(&str, &str)] = &[
    ("services.api.certFile", "services.api.keyFile"),
    ("services.metrics.certFile", "services.metrics.keyFile"),
    ("services.kubernetesProxy.certFile", "services.kubernetesProxy.keyFile"),
    ("services.machineAPI.certFile", "services.machineAPI.keyFile"),
    ("registries.factories.primary.username", "registries.factories.primary.password"),
    ("registries.factories.secondary.username", "registries.factories.secondary.password"),
];

/// Settings of which the first needs the second.
const NEEDS: &[(&str, &str)] = &[
    ("registries.factories.secondary.username", "registries.factories.secondary.url"),
    ("registries.factories.secondary.pxeURL", "registries.factories.secondary.url"),
];

/// Port within WireGuard where machines get certificates; it is fixed.
const TRUSTD_PORT: u16 = 50_001;
/// What is there, for messages.
const TRUSTD: &str = "machine certificates";

/// Everything that does not go together, each with its place.
pub(crate) fn check(values: &Values) -> Vec<String> {
    let mut wrong = pairs(values);
    wrong.extend(certificates(values));
    wrong.extend(order(values));
    wrong.extend(tunnel_ports(values));
    wrong.extend(listeners(values));
    wrong
}

fn pairs(values: &Values) -> Vec<String> {
    let both = PAIRS.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
    let needs = both.chain(NEEDS.iter().copied());
    needs
        .filter(|(one, other)| values.has(one) && !values.has(other))
        .map(|(one, other)| values.tell(one, &format!("needs {other} as well")))
        .collect()
}

/// One certificate, not two.
fn certificates(values: &Values) -> Option<String> {
    let own = "services.api.ownCertificate";
    let is_double = values.is(own) && values.has("services.api.certFile");
    is_double.then(|| values.tell(own, "services.api.certFile names a certificate already; remove one"))
}

/// Ranges whose begin is not behind their end.
fn order(values: &Values) -> Vec<String> {
    let mut wrong = Vec::new();
    let (min_port, max_port) = ("services.loadBalancer.minPort", "services.loadBalancer.maxPort");
    let (min, max): (u16, u16) = (values.number(min_port), values.number(max_port));
    if min > max {
        wrong.push(values.tell(min_port, &format!("{min} is above {max_port}, which is {max}")));
    }
    let (shortest, longest) = ("etcdBackup.minInterval", "etcdBackup.maxInterval");
    let (min, max) = (values.duration(shortest), values.duration(longest));
    if min > max {
        wrong.push(values.tell(shortest, &format!("{min:?} is longer than {longest}, which is {max:?}")));
    }
    wrong
}

/// What listens within WireGuard needs a port of its own each.
fn tunnel_ports(values: &Values) -> Vec<String> {
    let mut ports = vec!["services.siderolink.eventSinkPort", "services.siderolink.logServerPort"];
    if values.is("services.embeddedDiscoveryService.enabled") {
        ports.push("services.embeddedDiscoveryService.port");
    }
    let mut taken = vec![(TRUSTD_PORT, TRUSTD)];
    let mut wrong = Vec::new();
    for path in ports {
        let port: u16 = values.number(path);
        match taken.iter().find(|(other, _)| *other == port) {
            Some((_, name)) => wrong.push(values.tell(path, &format!("port {port} is that of {name}"))),
            None => taken.push((port, path)),
        }
    }
    wrong
}

/// What listens outside needs an address of its own each, except that machines may join where the API is.
fn listeners(values: &Values) -> Vec<String> {
    const API: &str = "services.api.endpoint";
    const JOIN: &str = "services.machineAPI.endpoint";
    let mut taken: Vec<(SocketAddr, &str)> = Vec::new();
    let mut wrong = Vec::new();
    for path in [API, JOIN, "services.kubernetesProxy.endpoint", "services.metrics.endpoint"] {
        let endpoint = values.endpoint(path);
        let other = taken.iter().find(|(other, _)| *other == endpoint && endpoint.port() != 0);
        match other {
            Some((_, name)) if (*name, path) != (API, JOIN) => {
                wrong.push(values.tell(path, &format!("{endpoint} is that of {name}")));
            }
            Some(_) => {}
            None => taken.push((endpoint, path)),
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;
    use crate::values::Origin;

    fn wrong(given: &[(&'static str, &str)]) -> Vec<String> {
        let mut values = Values::initial();
        for &(path, text) in given {
            let value = table::setting(path).unwrap().read_texts(&[text]).unwrap();
            values.set(path, value, Origin::Flag(path));
        }
        check(&values)
    }

    #[test]
    fn the_defaults_go_together() {
        assert_eq!(wrong(&[]), Vec::<String>::new());
    }

    #[test]
    fn what_belongs_together_is_set_together() {
        assert_eq!(
            wrong(&[("services.api.certFile", "a"), ("registries.factories.secondary.pxeURL", "https://b")]),
            [
                "--services.api.certFile: needs services.api.keyFile as well",
                "--registries.factories.secondary.pxeURL: needs registries.factories.secondary.url as well",
            ]
        );
    }

    #[test]
    fn a_certificate_is_given_or_made_and_not_both() {
        let given = [("services.api.certFile", "a"), ("services.api.keyFile", "b")];
        let both = [given.as_slice(), &[("services.api.ownCertificate", "true")]].concat();
        assert_eq!(
            wrong(&both),
            ["--services.api.ownCertificate: services.api.certFile names a certificate already; remove one"]
        );
    }

    #[test]
    fn ranges_do_not_end_before_they_begin() {
        assert_eq!(
            wrong(&[("services.loadBalancer.maxPort", "9999"), ("etcdBackup.minInterval", "25h")]),
            [
                "services.loadBalancer.minPort: 10000 is above services.loadBalancer.maxPort, which is 9999",
                "--etcdBackup.minInterval: 90000s is longer than etcdBackup.maxInterval, which is 86400s",
            ]
        );
    }

    #[test]
    fn two_do_not_listen_on_one_address() {
        assert_eq!(
            wrong(&[
                ("services.siderolink.logServerPort", "8090"),
                ("services.embeddedDiscoveryService.port", "50001")
            ]),
            [
                "--services.siderolink.logServerPort: port 8090 is that of services.siderolink.eventSinkPort",
                "--services.embeddedDiscoveryService.port: port 50001 is that of machine certificates",
            ]
        );
        assert!(wrong(&[("services.machineAPI.endpoint", "0.0.0.0:8080")]).is_empty());
        assert_eq!(
            wrong(&[("services.metrics.endpoint", "0.0.0.0:8080")]),
            ["--services.metrics.endpoint: 0.0.0.0:8080 is that of services.api.endpoint"]
        );
    }
}
