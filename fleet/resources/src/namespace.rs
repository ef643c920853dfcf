//! Namespaces: how long what is in them lives, and who writes there.

/// Kept on disk.
pub const DEFAULT: &str = "default";
/// In memory; gone after a restart.
pub const EPHEMERAL: &str = "ephemeral";
/// Counters and histories; kept, but their loss costs nothing.
pub const METRICS: &str = "metrics";
/// Computed for each request.
pub const VIRTUAL: &str = "virtual";
/// What object stores outside have, listed when asked for.
pub const EXTERNAL: &str = "external";
/// What infrastructure providers and the manager tell each other.
pub const INFRA_PROVIDER: &str = "infra-provider";
/// Signs of life of infrastructure providers.
pub const INFRA_PROVIDER_EPHEMERAL: &str = "infra-provider-ephemeral";
/// Begin of the namespaces in which each infrastructure provider keeps what nobody else understands.
pub const INFRA_PROVIDER_PREFIX: &str = "infra-provider:";

/// Namespaces that are there from the start, with what they are for.
pub(crate) const ALL: [(&str, &str); 7] = [
    (DEFAULT, "Kept on disk."),
    (EPHEMERAL, "In memory; gone after a restart."),
    (METRICS, "Counters and histories."),
    (VIRTUAL, "Computed for each request."),
    (EXTERNAL, "Listed from object stores when asked for."),
    (INFRA_PROVIDER, "Between infrastructure providers and the manager."),
    (INFRA_PROVIDER_EPHEMERAL, "Signs of life of infrastructure providers."),
];
