//! Kinds of documents that exist in the language but take no effect on this machine yet.
//!
//! A machine refuses them by name: ignoring a firewall rule or an encrypted volume would be worse. A manager of other
//! machines takes them, and checks them like all others.

mod network;
mod runtime;

use super::{DocumentKind, Record, kubernetes};

/// Known kinds that are not supported yet, in order.
pub const LATER_DOCUMENTS: &[DocumentKind] = &[
    named("BGPInstanceConfig", &network::BGP_INSTANCE),
    named("ContainerConfig", &runtime::CONTAINER),
    named("ExtensionServiceConfig", &runtime::EXTENSION_SERVICE),
    named("HCloudVIPConfig", &network::HCLOUD_VIP),
    single("ImageVerificationConfig", &runtime::IMAGE_VERIFICATION),
    single("KubeSpanConfig", &network::KUBESPAN),
    single("KubeSpanEndpointsConfig", &network::KUBESPAN_ENDPOINTS),
    single("KubeTalosAPIAccessConfig", &kubernetes::TALOS_API_ACCESS),
    single("SecurityProfileConfig", &runtime::SECURITY_PROFILE),
    single("UnattendedInstallConfig", &runtime::UNATTENDED_INSTALL),
];

/// Names of the known kinds that are not supported yet, in order.
pub const LATER_KINDS: &[&str] = &names::<{ LATER_DOCUMENTS.len() }>(LATER_DOCUMENTS);

const fn named(kind: &'static str, record: &'static Record) -> DocumentKind {
    DocumentKind { kind, record, named: true }
}

const fn single(kind: &'static str, record: &'static Record) -> DocumentKind {
    DocumentKind { kind, record, named: false }
}

const fn names<const N: usize>(documents: &'static [DocumentKind]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut index = 0;
    while index < N {
        names[index] = documents[index].kind;
        index += 1;
    }
    names
}
