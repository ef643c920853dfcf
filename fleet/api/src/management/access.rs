//! Client configurations, and whether a configuration of a machine is one.
//!
//! ```text
//! Omniconfig    name and URL of the manager, identity of the caller ─▶ YAML
//! Kubeconfig ┐  role on the cluster, form that is wanted ─▶ ClusterAccess ─▶ YAML
//! Talosconfig┘
//! ```

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use corten_api::fleet::Role;
use corten_api::management::{
    KubeconfigRequest, KubeconfigResponse, OmniconfigResponse, TalosconfigRequest, TalosconfigResponse,
};
use corten_fleet_auth::Email;
use corten_fleet_resources::cluster::Cluster;
use serde_json::json;
use tonic::{Request, Response, Status};

use super::{Answered, Management, opened};
use crate::caller::Caller;
use crate::validate::check_patch_text;

/// Longest lifetime of a token for a tool (fleet.md 2.4): ten years.
const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Lifetime of a token for a tool when none is given: a year.
const TOKEN_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// An answer that is on its way.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send + 'a>>;

/// How a log-in of a person comes back to the waiting kubectl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// As it is possible.
    Auto,
    /// To a port of the person's computer.
    AuthCode,
    /// By a code that the person types.
    AuthCodeKeyboard,
}

/// What a person wants of the log-in in a kubeconfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// How it comes back; nothing leaves it to kubelogin.
    pub grant: Option<Grant>,
    /// Folder on the person's computer for tokens; empty for what the configuration says.
    pub cache_folder: String,
    /// The context has a folder of its own there, whatever the configuration says.
    pub has_own_cache: bool,
}

/// Which kubeconfig is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubeconfigKind {
    /// With a log-in of the person who uses it.
    Person(Login),
    /// With a token for a tool.
    ServiceAccount {
        /// Name in Kubernetes.
        user: String,
        /// Groups in Kubernetes.
        groups: Vec<String>,
        /// How long the token is good.
        lifetime: Duration,
    },
    /// With an administrator's certificate of the cluster; the cluster is marked for it.
    BreakGlass,
}

/// A kubeconfig that the caller may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeconfigWish {
    /// The cluster, which exists.
    pub cluster: String,
    /// Who asks.
    pub email: Email,
    /// Which one is wanted.
    pub kind: KubeconfigKind,
}

/// Which talosconfig is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TalosconfigKind {
    /// One that goes through the manager and signs with the caller's own key.
    Manager,
    /// With an administrator's certificate of the cluster; the cluster is marked for it.
    BreakGlass,
}

/// A talosconfig that the caller may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TalosconfigWish {
    /// The cluster, which exists; none for all machines.
    pub cluster: Option<String>,
    /// Who asks.
    pub email: Email,
    /// Which one is wanted.
    pub kind: TalosconfigKind,
}

/// Makes credentials of clusters. Whether the caller may have them was decided before.
pub trait ClusterAccess: Send + Sync {
    /// A kubeconfig, YAML.
    ///
    /// # Errors
    /// `FailedPrecondition` while the cluster has no control plane.
    fn kubeconfig(&self, wish: KubeconfigWish) -> Answering<'_, Vec<u8>>;

    /// A talosconfig, YAML.
    ///
    /// # Errors
    /// `FailedPrecondition` while the cluster has no certificates.
    fn talosconfig(&self, wish: TalosconfigWish) -> Answering<'_, Vec<u8>>;
}

/// Makes no credentials, and says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoClusterAccess;

impl ClusterAccess for NoClusterAccess {
    fn kubeconfig(&self, _: KubeconfigWish) -> Answering<'_, Vec<u8>> {
        let text = "this manager makes no kubeconfigs yet; take one from a machine with talosctl kubeconfig";
        Box::pin(std::future::ready(Err(Status::unimplemented(text))))
    }

    fn talosconfig(&self, _: TalosconfigWish) -> Answering<'_, Vec<u8>> {
        let text = "this manager makes no talosconfigs yet; use the one that the cluster was made with";
        Box::pin(std::future::ready(Err(Status::unimplemented(text))))
    }
}

impl Management {
    pub(super) async fn kubeconfig_for(
        &self,
        request: Request<KubeconfigRequest>,
    ) -> Answered<KubeconfigResponse> {
        let named = named_cluster(&request);
        let (caller, request) = opened(request);
        let cluster = named.ok_or_else(no_cluster)?;
        let (kind, least) = kubeconfig_kind(request)?;
        self.may_have(&caller, Some(&cluster), least, kind == KubeconfigKind::BreakGlass)?;
        self.exists(&cluster)?;
        let wish = KubeconfigWish { cluster, email: signed(&caller)?, kind };
        let kubeconfig = self.clusters.kubeconfig(wish).await?;
        Ok(Response::new(KubeconfigResponse { kubeconfig }))
    }

    pub(super) async fn talosconfig_for(
        &self,
        request: Request<TalosconfigRequest>,
    ) -> Answered<TalosconfigResponse> {
        let cluster = named_cluster(&request);
        let (caller, request) = opened(request);
        if request.raw {
            let text = "raw talosconfigs are for development only; ask for break_glass, or for neither";
            return Err(Status::unimplemented(text));
        }
        let (kind, least) = if request.break_glass {
            (TalosconfigKind::BreakGlass, Role::Admin)
        } else {
            (TalosconfigKind::Manager, Role::Reader)
        };
        self.may_have(&caller, cluster.as_deref(), least, request.break_glass)?;
        match &cluster {
            Some(cluster) => self.exists(cluster)?,
            None if request.break_glass => return Err(no_cluster()),
            None => {}
        }
        let wish = TalosconfigWish { cluster, email: signed(&caller)?, kind };
        let talosconfig = self.clusters.talosconfig(wish).await?;
        Ok(Response::new(TalosconfigResponse { talosconfig }))
    }

    pub(super) fn omniconfig_of(&self, caller: &Caller) -> Answered<OmniconfigResponse> {
        let email = signed(caller)?;
        let name = &self.options.name;
        let auth = json!({ "siderov1": { "identity": email.as_str() } });
        let contexts = json!({ name: { "url": self.options.url, "auth": auth } });
        let text = corten_config::yaml::render(&json!({ "contexts": contexts, "context": name }));
        Ok(Response::new(OmniconfigResponse { omniconfig: text.into_bytes() }))
    }

    /// What goes around the manager is for Admins, where the configuration permits it at all.
    fn may_have(
        &self,
        caller: &Caller,
        cluster: Option<&str>,
        least: Role,
        is_break_glass: bool,
    ) -> Result<(), Status> {
        if is_break_glass && !self.options.has_break_glass {
            let text = "credentials that go past the manager are switched off; an administrator can enable \
                        features.enableBreakGlassConfigs in the configuration";
            return Err(Status::failed_precondition(text));
        }
        let role = cluster.map_or_else(|| caller.role(), |cluster| caller.role_on(cluster));
        if role.is_some_and(|role| role >= least) {
            return Ok(());
        }
        Err(Status::permission_denied(format!("this form needs the role {least}; an Admin can change that")))
    }

    /// Whether there is such a cluster.
    pub(super) fn exists(&self, cluster: &str) -> Result<(), Status> {
        match self.state.get::<Cluster>(cluster) {
            Some(_) => Ok(()),
            None => Err(Status::not_found(format!("there is no cluster {cluster:?}"))),
        }
    }
}

/// Whether a text is a configuration or a patch that the manager would take.
pub(super) fn validate(text: &str) -> Answered<()> {
    check_patch_text(text).map_err(Status::invalid_argument)?;
    Ok(Response::new(()))
}

/// The form that is wanted, and the role that it takes on the cluster.
fn kubeconfig_kind(request: KubeconfigRequest) -> Result<(KubeconfigKind, Role), Status> {
    if request.break_glass {
        return Ok((KubeconfigKind::BreakGlass, Role::Admin));
    }
    if !request.service_account {
        let grant = grant(&request.grant_type)?;
        let (cache_folder, has_own_cache) = (request.oidc_cache_base_dir, request.oidc_cache_isolation);
        let login = Login { grant, cache_folder, has_own_cache };
        return Ok((KubeconfigKind::Person(login), Role::Reader));
    }
    let lifetime = match request.service_account_ttl {
        None => TOKEN_LIFETIME,
        Some(lifetime) => Duration::try_from(lifetime)
            .map_err(|_| Status::invalid_argument("the lifetime of the token is negative"))?,
    };
    if lifetime.is_zero() || lifetime > TOKEN_LIFETIME_MAX {
        return Err(Status::invalid_argument(
            "the lifetime of the token is above zero and at most ten years",
        ));
    }
    let (user, groups) = (request.service_account_user, request.service_account_groups);
    if user.is_empty() || groups.is_empty() {
        return Err(Status::invalid_argument("a service account has a user and at least one group"));
    }
    Ok((KubeconfigKind::ServiceAccount { user, groups, lifetime }, Role::Operator))
}

/// The words are those of kubelogin.
fn grant(text: &str) -> Result<Option<Grant>, Status> {
    match text {
        "" => Ok(None),
        "auto" => Ok(Some(Grant::Auto)),
        "authcode" => Ok(Some(Grant::AuthCode)),
        "authcode-keyboard" => Ok(Some(Grant::AuthCodeKeyboard)),
        _ => {
            let text = "the grant type is auto, authcode, authcode-keyboard, or nothing";
            Err(Status::invalid_argument(text))
        }
    }
}

/// The cluster that the metadata of a request names: `cluster`, or `context` as older clients call it.
fn named_cluster<T>(request: &Request<T>) -> Option<String> {
    crate::caller::cluster(request.metadata().as_ref())
}

fn no_cluster() -> Status {
    Status::invalid_argument("the metadata `cluster` is missing; it names the cluster")
}

/// The identity of a caller, whom the layer has let through only signed.
fn signed(caller: &Caller) -> Result<Email, Status> {
    let email = caller.email().cloned();
    email.ok_or_else(|| Status::unauthenticated("log in, or use the key of a service account"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use corten_api::management::management_service_server::ManagementService as _;
    use tonic::Code;

    use super::*;
    use crate::management::ManagementOptions;
    use crate::management::testing::{from, management};
    use crate::testing::{Fleet, PROD};

    /// Remembers what it was asked for.
    #[derive(Default)]
    struct Asked(Mutex<Vec<KubeconfigKind>>);

    impl ClusterAccess for Asked {
        fn kubeconfig(&self, wish: KubeconfigWish) -> Answering<'_, Vec<u8>> {
            self.0.lock().expect("not poisoned").push(wish.kind);
            Box::pin(std::future::ready(Ok(b"kind: Config\n".to_vec())))
        }

        fn talosconfig(&self, _: TalosconfigWish) -> Answering<'_, Vec<u8>> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }
    }

    fn on_cluster<T>(caller: &Arc<Caller>, message: T, cluster: &str) -> Request<T> {
        let mut request = from(caller, message);
        request.metadata_mut().insert("cluster", cluster.parse().expect("metadata"));
        request
    }

    fn for_a_tool() -> KubeconfigRequest {
        KubeconfigRequest {
            service_account: true,
            service_account_user: "ci".to_owned(),
            service_account_groups: vec!["deployers".to_owned()],
            ..KubeconfigRequest::default()
        }
    }

    #[tokio::test]
    async fn an_omniconfig_names_the_manager_and_the_caller() {
        let fleet = Fleet::new();
        let url = "https://fleet.example.org".to_owned();
        let options = ManagementOptions { name: "steel".to_owned(), url, ..ManagementOptions::default() };
        let service = management(&fleet, options);
        let caller = fleet.with_role(Role::Reader);
        let answer = service.omniconfig(from(&caller, ())).await.expect("answered").into_inner();
        let text = String::from_utf8(answer.omniconfig).expect("text");
        let found = corten_config::yaml::parse(&text).expect("YAML");
        let auth = json!({ "siderov1": { "identity": "reader@serviceaccount.omni.sidero.dev" } });
        let context = json!({ "url": "https://fleet.example.org", "auth": auth });
        assert_eq!(found, [json!({ "contexts": { "steel": context }, "context": "steel" })]);
    }

    #[tokio::test]
    async fn a_kubeconfig_for_a_tool_takes_an_operator_and_one_around_the_manager_an_admin() {
        let fleet = Fleet::new();
        fleet.put(PROD, Cluster::default());
        let mut service = management(&fleet, ManagementOptions::default());
        let asked = Arc::new(Asked::default());
        service.clusters = Arc::clone(&asked) as Arc<dyn ClusterAccess>;
        let glass = KubeconfigRequest { break_glass: true, ..KubeconfigRequest::default() };
        let (reader, admin) = (fleet.with_role(Role::Reader), fleet.with_role(Role::Admin));
        let operator = fleet.caller(&fleet.operator_of_prod());
        for (caller, request, cluster, code) in [
            (&reader, for_a_tool(), PROD, Code::PermissionDenied),
            (&operator, for_a_tool(), "lab", Code::PermissionDenied),
            (&admin, for_a_tool(), "lab", Code::NotFound),
            (&admin, glass.clone(), PROD, Code::FailedPrecondition),
        ] {
            let status = service.kubeconfig(on_cluster(caller, request, cluster)).await.expect_err(cluster);
            assert_eq!(status.code(), code, "{}", status.message());
        }
        let status = service.kubeconfig(from(&admin, for_a_tool())).await.expect_err("no cluster");
        assert_eq!(status.code(), Code::InvalidArgument);
        let person = KubeconfigRequest { grant_type: "authcode".to_owned(), ..KubeconfigRequest::default() };
        service.kubeconfig(on_cluster(&reader, person, PROD)).await.expect("for a person");
        service.kubeconfig(on_cluster(&operator, for_a_tool(), PROD)).await.expect("for a tool");
        service.options.has_break_glass = true;
        let status =
            service.kubeconfig(on_cluster(&operator, glass.clone(), PROD)).await.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied);
        service.kubeconfig(on_cluster(&admin, glass, PROD)).await.expect("around the manager");
        let asked = asked.0.lock().expect("not poisoned");
        let (user, groups) = ("ci".to_owned(), vec!["deployers".to_owned()]);
        let tool = KubeconfigKind::ServiceAccount { user, groups, lifetime: TOKEN_LIFETIME };
        let login = Login { grant: Some(Grant::AuthCode), ..Login::default() };
        assert_eq!(*asked, [KubeconfigKind::Person(login), tool, KubeconfigKind::BreakGlass]);
    }

    #[test]
    fn a_token_has_a_user_groups_and_an_end() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let years = |years: i64| seconds(years * 365 * 24 * 3600);
        for (ttl, is_ok) in
            [(None, true), (years(10), true), (years(11), false), (seconds(0), false), (seconds(-1), false)]
        {
            let request = KubeconfigRequest { service_account_ttl: ttl, ..for_a_tool() };
            assert_eq!(kubeconfig_kind(request).is_ok(), is_ok, "{ttl:?}");
        }
        let person = KubeconfigRequest { grant_type: "password".to_owned(), ..KubeconfigRequest::default() };
        assert!(kubeconfig_kind(person).is_err(), "a grant that nobody knows");
        let nobody = KubeconfigRequest { service_account_user: String::new(), ..for_a_tool() };
        let alone = KubeconfigRequest { service_account_groups: Vec::new(), ..for_a_tool() };
        assert!(kubeconfig_kind(nobody).is_err() && kubeconfig_kind(alone).is_err());
    }

    #[test]
    fn a_configuration_is_judged_as_a_patch_is() {
        assert!(validate("machine: {}\n").is_ok());
        let status = validate("machine:\n  token: x\n").expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("machine.token: the manager sets"), "{}", status.message());
    }
}
