//! Settings of the account, of who may do what, and of the licence agreement.

use super::{COUNT, INTERVAL, Setting, TEXTS, effective, ignored, later, renamed};
use crate::kind::Kind;

/// Why nobody has to accept anything.
const NO_EULA: &str = "Corten Fleet is under the Apache License 2.0, so that there is no agreement to accept";
/// What nobody gets from here.
const TELEMETRY: &str = "reports about users to other companies";
const AUTH0: &str = "logging in through Auth0";
const WEBAUTHN: &str = "logging in with security keys";
const SAML: &str = "logging in through SAML";
const OIDC: &str = "logging in through OpenID Connect";

/// Words for the role of the first service account.
const ROLES: Kind = Kind::OneOf(&["Admin", "Operator", "Auditor", "Reader"]);

pub(super) const ACCOUNT: &[Setting] = &[
    effective(
        "account.id",
        Kind::Text,
        "edd2822a-7834-4fe0-8172-cc5581f13a8d",
        "Tells managers apart that keep their resources in one etcd; data is lost when it changes.",
    )
    .flag("account-id"),
    effective(
        "account.name",
        Kind::Text,
        "default",
        "Name of this manager, as in the contexts of the kubeconfigs that it makes.",
    )
    .flag("name"),
    effective(
        "account.maxRegisteredMachines",
        COUNT,
        "0",
        "Most machines that may join; 0 means any number.",
    )
    .flag("account-max-registered-machines"),
    later("account.userPilot.appToken", Kind::Secret, "", TELEMETRY).flag("user-pilot-app-token"),
    later("account.posthog.apiKey", Kind::Secret, "", TELEMETRY).flag("account-posthog-api-key"),
    later("account.posthog.apiHost", Kind::Text, "", TELEMETRY).flag("account-posthog-api-host"),
];

pub(super) const AUTH: &[Setting] = &[
    effective(
        "auth.initialUsers",
        Kind::List(&Kind::Email),
        "",
        "E-mail addresses of users who are made administrators on the first start.",
    )
    .flag("initial-users"),
    effective(
        "auth.recoveryAdmin",
        Kind::Email,
        "",
        "E-mail address of an existing user who is made an administrator on every start.",
    )
    .flag("recovery-admin"),
    effective(
        "auth.suspended",
        Kind::Bool,
        "false",
        "Whether the manager changes nothing and refuses everything but reading.",
    )
    .flag("suspended"),
    effective("auth.keyPruner.interval", INTERVAL, "10m0s", "How often expired keys of users are removed.")
        .flag("public-key-pruning-interval"),
    effective(
        "auth.initialServiceAccount.enabled",
        Kind::Bool,
        "true",
        "Whether the first start makes a service account and writes its key to a file.",
    )
    .flag("create-initial-service-account"),
    effective(
        "auth.initialServiceAccount.name",
        Kind::Text,
        "automation",
        "Name of the first service account.",
    ),
    effective("auth.initialServiceAccount.role", ROLES, "Admin", "Role of the first service account.")
        .flag("initial-service-account-role"),
    effective(
        "auth.initialServiceAccount.keyPath",
        Kind::Path,
        "_out/initial-service-account-key",
        "File that the key of the first service account is written to, readable by its owner only.",
    )
    .flag("initial-service-account-key-path"),
    effective(
        "auth.initialServiceAccount.lifetime",
        INTERVAL,
        "1h0m0s",
        "How long the key of the first service account is good.",
    )
    .flag("initial-service-account-lifetime"),
    effective("auth.limits.maxUsers", COUNT, "0", "Most users; 0 means any number.").flag("auth-max-users"),
    effective("auth.limits.maxServiceAccounts", COUNT, "0", "Most service accounts; 0 means any number.")
        .flag("auth-max-service-accounts"),
    renamed("auth.auth0.initialUsers", "auth.initialUsers"),
    later("auth.auth0.enabled", Kind::Bool, "false", AUTH0).flag("auth-auth0-enabled"),
    later("auth.auth0.domain", Kind::Text, "", AUTH0).flag("auth-auth0-domain"),
    later("auth.auth0.clientID", Kind::Text, "", AUTH0).flag("auth-auth0-client-id"),
    later("auth.auth0.useFormData", Kind::Bool, "false", AUTH0).flag("auth-auth0-use-form-data"),
    later("auth.webauthn.enabled", Kind::Bool, "false", WEBAUTHN).flag("auth-webauthn-enabled"),
    later("auth.webauthn.required", Kind::Bool, "false", WEBAUTHN).flag("auth-webauthn-required"),
    later("auth.saml.enabled", Kind::Bool, "false", SAML).flag("auth-saml-enabled"),
    later("auth.saml.url", Kind::Text, "", SAML).flag("auth-saml-url"),
    later("auth.saml.metadata", Kind::Text, "", SAML).flag("auth-saml-metadata"),
    later("auth.saml.nameIDFormat", Kind::Text, "", SAML).flag("auth-saml-name-id-format"),
    later("auth.saml.labelRules", Kind::Text, "", SAML).flag("auth-saml-label-rules"),
    later("auth.saml.attributeRules", Kind::Text, "", SAML).flag("auth-saml-attribute-rules"),
    later("auth.oidc.enabled", Kind::Bool, "false", OIDC).flag("auth-oidc-enabled"),
    later("auth.oidc.providerURL", Kind::Text, "", OIDC).flag("auth-oidc-provider-url"),
    later("auth.oidc.clientID", Kind::Text, "", OIDC).flag("auth-oidc-client-id"),
    later("auth.oidc.clientSecret", Kind::Secret, "", OIDC).flag("auth-oidc-client-secret"),
    later("auth.oidc.logoutURL", Kind::Text, "", OIDC).flag("auth-oidc-logout-url"),
    later("auth.oidc.scopes", TEXTS, "", OIDC).flag("auth-oidc-scopes"),
    later("auth.oidc.allowUnverifiedEmail", Kind::Bool, "false", OIDC)
        .flag("auth-oidc-allow-unverified-email"),
];

pub(super) const EULA: &[Setting] = &[
    ignored("eulaAccept.name", Kind::Text, NO_EULA).flag("eula-accept-name"),
    ignored("eulaAccept.email", Kind::Text, NO_EULA).flag("eula-accept-email"),
];
