//! Whose images may run.

use std::time::SystemTime;

use corten_resource::{Record, Resource};

/// Who must have signed, as an identity provider says.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct KeylessVerifier {
    /// The identity provider.
    #[field(1, "issuer")]
    pub issuer: String,
    /// Who it is.
    #[field(2, "subject", omitempty)]
    pub subject: String,
    /// Who it is, as a regular expression.
    #[field(3, "subjectRegex", omitempty)]
    pub subject_regex: String,
}

/// Which key must have signed.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct PublicKeyVerifier {
    /// The public key or a certificate of it, as PEM.
    #[field(1, "certificate")]
    pub certificate: String,
}

/// A rule for images; the id is its place in the list, in four digits. The first that fits counts.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ImageVerificationRules.security.talos.dev", namespace = "security",
    columns("Image Pattern" => "{.imagePattern}", "Skip" => "{.skip}", "Deny" => "{.deny}"))]
pub struct ImageVerificationRule {
    /// Images that it is for, with `*`.
    #[field(2, "imagePattern", omitempty)]
    pub image_pattern: String,
    /// They need no signature.
    #[field(3, "skip")]
    pub skip: bool,
    /// They are refused.
    #[field(4, "deny")]
    pub deny: bool,
    /// Who must have signed.
    #[field(5, "keylessVerifier", omitempty)]
    pub keyless_verifier: Option<KeylessVerifier>,
    /// Which key must have signed.
    #[field(6, "publicKeyVerifier", omitempty)]
    pub public_key_verifier: Option<PublicKeyVerifier>,
}

/// What keyless signatures are checked with. Singleton `trusted_root.json`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "TUFTrustedRoots.security.talos.dev", namespace = "security", columns("Last Refresh" => "{.lastRefreshTime}"))]
pub struct TufTrustedRoot {
    /// When it was fetched.
    #[field(1, "lastRefreshTime", omitempty)]
    pub last_refresh_time: Option<SystemTime>,
    /// The root of trust of sigstore.
    #[field(2, "jsonData", omitempty)]
    pub json_data: String,
}
