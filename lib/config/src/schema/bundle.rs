//! The secrets bundle, which is no machine configuration but shares its language.

use super::Type::{Pem, Text};
use super::machine::PAIR;
use super::{Record, Type, field};

/// The secrets of a cluster.
pub const BUNDLE: Record = Record {
    doc: "The secrets of a cluster.",
    fields: &[
        field("cluster", Type::Record(&IDENTITY), "Identity of the cluster.").required(),
        field("secrets", Type::Record(&SECRETS), "Secrets of Kubernetes.").required(),
        field("trustdinfo", Type::Record(&TRUSTD), "Secrets of joining.").required(),
        field("certs", Type::Record(&CERTIFICATES), "Authorities.").required(),
    ],
};

const IDENTITY: Record = Record {
    doc: "Identity of the cluster.",
    fields: &[field("id", Text, "Identity for discovery."), field("secret", Text, "Shared secret.").secret()],
};

const SECRETS: Record = Record {
    doc: "Secrets of Kubernetes.",
    fields: &[
        field("bootstraptoken", Text, "Bootstrap token.").secret().required(),
        field("secretboxencryptionsecret", Text, "Key that encrypts secrets in etcd.").secret(),
        field("aescbcencryptionsecret", Text, "Key that encrypts secrets in etcd, older form.").secret(),
    ],
};

const TRUSTD: Record = Record {
    doc: "Secrets of joining.",
    fields: &[field("token", Text, "Token for trustd.").secret().required()],
};

const CERTIFICATES: Record = Record {
    doc: "Authorities.",
    fields: &[
        field("etcd", Type::Record(&PAIR), "etcd CA.").required(),
        field("k8s", Type::Record(&PAIR), "Kubernetes CA.").required(),
        field("k8saggregator", Type::Record(&PAIR), "CA of aggregated API servers.").required(),
        field("k8sserviceaccount", Type::Record(&KEY), "Key that signs service account tokens.").required(),
        field("os", Type::Record(&PAIR), "Talos CA.").required(),
    ],
};

const KEY: Record = Record { doc: "A private key.", fields: &[field("key", Pem, "Private key.").secret()] };
