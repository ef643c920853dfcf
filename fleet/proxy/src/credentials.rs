//! Client configurations for clusters (fleet.md 2.4, 2.8): through the manager, and around it.
//!
//! ```text
//! person       ─▶ kubeconfig that logs in with kubelogin at the manager's OpenID provider
//! tool         ─▶ JwtKeys: a token ─▶ kubeconfig
//! talosconfig  ─▶ URL of the manager, identity of the caller, whose key signs the calls
//! around       ─▶ ClusterTaint first, then an administrator's certificate of the cluster and addresses of its machines
//! ```
//!
//! Whether the caller may have them was decided before, by fleet/api.

mod around;
mod kubeconfig;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Clock, Rng, chain};
use corten_client::TalosConfig;
use corten_client::talosconfig::{Auth, Context, SideroV1};
use corten_fleet_api::audit::{Actor, Audit, AuditEvent, AuditKind};
use corten_fleet_api::management::{
    Answering, ClusterAccess, KubeconfigKind, KubeconfigWish, TalosconfigKind, TalosconfigWish,
};
use corten_fleet_resources::cluster::ClusterUuid;
use corten_fleet_settings::Settings;
use corten_resource::{AnyResource, State};
use tonic::Status;

use crate::keys::{IssueError, JwtKeys};
use crate::kubernetes::is_name;
use crate::token::Claims;
use kubeconfig::Names;

/// What the configuration says about client configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialOptions {
    /// Name of the manager.
    pub name: String,
    /// URL of the API.
    pub api_url: String,
    /// URL of the Kubernetes proxy.
    pub kubernetes_url: String,
    /// Authorities by which clients know the Kubernetes proxy, PEM; empty for those that every computer trusts.
    pub authorities: Vec<u8>,
    /// The manager has an OpenID provider, at which people log in.
    pub has_login: bool,
    /// Folder on people's computers for tokens; nothing leaves it to kubelogin.
    pub cache_folder: Option<PathBuf>,
    /// Every context has a folder of its own there.
    pub has_own_cache: bool,
}

impl CredentialOptions {
    /// What the settings say. The manager has no OpenID provider yet; `authorities` are those of its own certificate,
    /// if it has made one.
    #[must_use]
    pub fn of(settings: &Settings, authorities: Vec<u8>) -> Self {
        let proxy = &settings.services.kubernetes_proxy;
        Self {
            name: settings.account.name.clone(),
            api_url: settings.services.api.advertised_url.clone(),
            kubernetes_url: proxy.advertised_url.clone(),
            authorities,
            has_login: false,
            cache_folder: proxy.oidc_cache_base_dir.clone(),
            has_own_cache: proxy.oidc_cache_isolation,
        }
    }
}

/// Makes client configurations.
pub struct ClusterCredentials {
    /// The store.
    pub state: State,
    /// Tells when credentials end.
    pub clock: Clock,
    /// Makes keys.
    pub rng: Rng,
    /// Makes tokens.
    pub keys: JwtKeys,
    /// Told of tokens, and of credentials that go around the manager.
    pub audit: Arc<dyn Audit>,
    /// What the configuration says.
    pub options: CredentialOptions,
}

impl std::fmt::Debug for ClusterCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterCredentials").field("options", &self.options).finish_non_exhaustive()
    }
}

impl ClusterAccess for ClusterCredentials {
    fn kubeconfig(&self, wish: KubeconfigWish) -> Answering<'_, Vec<u8>> {
        Box::pin(async move {
            let KubeconfigWish { cluster, email, kind } = wish;
            let email = email.as_str();
            match kind {
                KubeconfigKind::Person(login) => {
                    if !self.options.has_login {
                        return Err(no_login());
                    }
                    let names = Names::new(&self.options.name, &cluster, email);
                    Ok(kubeconfig::person(&self.options, &names, &cluster, &login))
                }
                KubeconfigKind::ServiceAccount { user, groups, lifetime } => {
                    self.for_tool(&cluster, email, user, groups, lifetime).await
                }
                KubeconfigKind::BreakGlass => self.kubeconfig_around(&cluster, email).await,
            }
        })
    }

    fn talosconfig(&self, wish: TalosconfigWish) -> Answering<'_, Vec<u8>> {
        Box::pin(async move {
            let TalosconfigWish { cluster, email, kind } = wish;
            match (kind, &cluster) {
                (TalosconfigKind::Manager, _) => {
                    Ok(talosconfig(&self.options, cluster.as_deref(), email.as_str()))
                }
                (TalosconfigKind::BreakGlass, Some(cluster)) => {
                    self.talosconfig_around(cluster, email.as_str()).await
                }
                (TalosconfigKind::BreakGlass, None) => {
                    Err(Status::invalid_argument("what goes around the manager is for one cluster; name it"))
                }
            }
        })
    }
}

impl ClusterCredentials {
    /// A kubeconfig with a new token.
    async fn for_tool(
        &self,
        cluster: &str,
        email: &str,
        user: String,
        groups: Vec<String>,
        lifetime: Duration,
    ) -> Result<Vec<u8>, Status> {
        if !is_name(&user) || !groups.iter().all(|group| is_name(group)) {
            let text = "the user and the groups are texts that fit into a header, and none is empty";
            return Err(Status::invalid_argument(text));
        }
        let uuid = self.state.get::<ClusterUuid>(cluster).ok_or_else(|| {
            Status::failed_precondition(format!("cluster {cluster:?} has no UUID yet; try again in a moment"))
        })?;
        let issued = self.clock.now();
        let expires = issued.checked_add(lifetime);
        let claims = Claims {
            issuer: format!("omni-{}-service-account-issuer", self.options.name),
            subject: user,
            groups,
            cluster: cluster.to_owned(),
            cluster_uuid: uuid.uuid.clone(),
            issued,
            expires: expires.ok_or_else(|| Status::invalid_argument("the token would live for too long"))?,
        };
        let (token, created) = self.keys.issue(&claims, &self.rng).await.map_err(|error| failed(&error))?;
        self.note(created, cluster, email);
        let names = Names::new(&self.options.name, cluster, &claims.subject);
        Ok(kubeconfig::tool(&self.options, &names, &token))
    }

    /// Tells the audit log of something that was made for somebody.
    fn note(&self, created: AnyResource, cluster: &str, email: &str) {
        self.audit.record(AuditEvent {
            kind: AuditKind::Create,
            resource: created.pointer(),
            cluster: cluster.to_owned(),
            actor: Actor { email: email.to_owned(), ..Actor::default() },
            old: None,
            new: Some(created),
        });
    }
}

/// A talosconfig whose calls go through the manager.
fn talosconfig(options: &CredentialOptions, cluster: Option<&str>, email: &str) -> Vec<u8> {
    let name = cluster.map_or_else(|| options.name.clone(), |cluster| format!("{}-{cluster}", options.name));
    let identity = SideroV1 { identity: email.to_owned() };
    let context = Context {
        endpoints: vec![options.api_url.clone()],
        auth: Some(Auth { siderov1: Some(identity), ..Auth::default() }),
        cluster: cluster.unwrap_or_default().to_owned(),
        ..Context::default()
    };
    let contexts = BTreeMap::from([(name.clone(), context)]);
    TalosConfig { context: name, contexts }.to_yaml().into_bytes()
}

fn no_login() -> Status {
    Status::unimplemented(
        "a kubeconfig for people needs an identity provider, and none is configured; ask for a service \
         account's with a user and groups",
    )
}

fn failed(error: &IssueError) -> Status {
    let text = chain(error);
    match error {
        IssueError::Busy(_) => Status::resource_exhausted(text),
        IssueError::Store(_) => Status::unavailable(text),
        IssueError::Sign(_) => Status::internal(text),
    }
}

#[cfg(test)]
mod tests;
