//! `management.ManagementService`: actions and secrets, which are no resources (fleet.md 2.4).
//!
//! ```text
//! Arc<Caller> (the layer let it through) ─▶ method ─┬▶ accounts, users, joining ─▶ State, Audit
//!                                                   ├▶ access: client configurations, validation
//!                                                   ├▶ schematics: media ─▶ ImageFactory
//!                                                   └▶ ClusterAccess, MachineLogs, AuditLog, SupportBundles
//!                                                      (other crates)
//! ```
//!
//! Every method has its row in the table of the layer. What is not here yet answers `Unimplemented` with what to use
//! instead.

mod access;
mod joining;
mod programs;
mod schematics;
mod streams;
mod support;
mod users;

use std::pin::Pin;
use std::sync::Arc;

use corten_api::MESSAGE_BYTES_MAX;
use corten_api::common::Data;
use corten_api::management::management_service_server::{ManagementService, ManagementServiceServer};
use corten_api::management::{
    BootAssetUrlRequest, BootAssetUrlResponse, CreateJoinTokenRequest, CreateJoinTokenResponse,
    CreateSchematicFromRawRequest, CreateSchematicRequest, CreateSchematicResponse,
    CreateServiceAccountRequest, CreateServiceAccountResponse, CreateUserRequest, CreateUserResponse,
    DestroyServiceAccountRequest, DestroyUserRequest, GetMachineJoinConfigRequest,
    GetMachineJoinConfigResponse, GetSupportBundleRequest, GetSupportBundleResponse, KubeconfigRequest,
    KubeconfigResponse, KubernetesSyncManifestRequest, KubernetesSyncManifestResponse,
    KubernetesUpgradePreChecksRequest, KubernetesUpgradePreChecksResponse, ListServiceAccountsResponse,
    ListUsersResponse, MachineLogsRequest, MachinePowerOffRequest, MachinePowerOffResponse,
    MachinePowerOnRequest, MachinePowerOnResponse, MaintenanceLifecycleRequest, MaintenanceLifecycleResponse,
    MaintenanceUpgradeRequest, MaintenanceUpgradeResponse, OmniconfigResponse, ReadAuditLogRequest,
    ReadAuditLogResponse, RenewServiceAccountRequest, RenewServiceAccountResponse,
    ResetNodeUniqueTokenRequest, ResetNodeUniqueTokenResponse, TalosconfigRequest, TalosconfigResponse,
    UpdateUserRequest, ValidateConfigRequest, ValidateJsonSchemaRequest, ValidateJsonSchemaResponse,
};
use corten_base::{Clock, Rng};
use corten_fleet_settings::Settings;
use corten_resource::{ErrorKind, State, StateError};
use futures::Stream;
use tonic::{Request, Response, Status};

use crate::COMPRESSION;
use crate::accounts::AccountError;
use crate::audit::Audit;
use crate::caller::Caller;
use crate::writer::Writer;

pub use access::{
    Answering, ClusterAccess, Grant, KubeconfigKind, KubeconfigWish, Login, NoClusterAccess, TalosconfigKind,
    TalosconfigWish,
};
pub(crate) use joining::{DEFAULT as DEFAULT_JOIN_TOKEN, join_options};
pub use joining::{JoinOptions, join_config};
pub use schematics::{FactoryUrls, ImageFactory, NoImageFactory};
pub use streams::{AuditLog, LogLines, MachineLogs, NoAuditLog, NoMachineLogs};
pub use support::{NoSupportBundles, SupportBundles};

/// An answer of a method.
type Answered<T> = Result<Response<T>, Status>;
/// Messages of a method that goes on.
pub type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the methods need to know of the configuration.
#[derive(Clone, Debug, Default)]
pub struct ManagementOptions {
    /// Name of the manager, as in the contexts of client configurations.
    pub name: String,
    /// URL of the API.
    pub url: String,
    /// Most users; none for any number.
    pub max_users: Option<u32>,
    /// Most service accounts; none for any number.
    pub max_service_accounts: Option<u32>,
    /// Administrators may have credentials that go past the manager.
    pub has_break_glass: bool,
}

impl ManagementOptions {
    /// What the configuration says to the methods.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            name: settings.account.name.clone(),
            url: settings.services.api.advertised_url.clone(),
            max_users: settings.auth.max_users,
            max_service_accounts: settings.auth.max_service_accounts,
            has_break_glass: settings.features.break_glass_configs,
        }
    }
}

/// The service, with all that it is made of. Other crates bring what they know.
pub struct Management {
    /// The store.
    pub state: State,
    /// Judges lifetimes.
    pub clock: Clock,
    /// Makes ids and tokens.
    pub rng: Rng,
    /// What the configuration says.
    pub options: ManagementOptions,
    /// Told of every change.
    pub audit: Arc<dyn Audit>,
    /// Credentials of clusters.
    pub clusters: Arc<dyn ClusterAccess>,
    /// Logs of machines.
    pub logs: Arc<dyn MachineLogs>,
    /// What was written down.
    pub audit_log: Arc<dyn AuditLog>,
    /// What those who are asked for help need to know.
    pub support: Arc<dyn SupportBundles>,
    /// Makes media.
    pub images: Arc<dyn ImageFactory>,
}

impl std::fmt::Debug for Management {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Management").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Management {
    /// The service as a server.
    #[must_use]
    pub fn into_server(self) -> ManagementServiceServer<Self> {
        ManagementServiceServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
            .accept_compressed(COMPRESSION)
            .send_compressed(COMPRESSION)
    }

    fn writer<'a>(&'a self, caller: &'a Caller) -> Writer<'a> {
        Writer { state: &self.state, audit: self.audit.as_ref(), caller }
    }
}

/// Who makes a request, and what it says.
fn opened<T>(request: Request<T>) -> (Arc<Caller>, T) {
    let caller = Caller::of(request.extensions());
    (caller, request.into_inner())
}

/// A method that is not here yet.
fn later<T>(method: &str, instead: &str) -> Answered<T> {
    Err(Status::unimplemented(format!(
        "management.ManagementService/{method} is not implemented yet; {instead}"
    )))
}

/// A refusal of the store, as gRPC has it.
pub(crate) fn refusal(error: &StateError) -> Status {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::NotFound => Status::not_found(text),
        ErrorKind::AlreadyExists => Status::already_exists(text),
        ErrorKind::PermissionDenied => Status::permission_denied(text),
        ErrorKind::FailedPrecondition => Status::failed_precondition(text),
        ErrorKind::InvalidArgument => Status::invalid_argument(text),
        ErrorKind::Unimplemented => Status::unimplemented(text),
        ErrorKind::Unavailable => Status::unavailable(text),
    }
}

impl From<AccountError> for Status {
    fn from(error: AccountError) -> Self {
        let text = corten_base::chain(&error);
        match &error {
            AccountError::Exists(_) => Self::already_exists(text),
            AccountError::Missing(_) => Self::not_found(text),
            AccountError::Limit(_) => Self::resource_exhausted(text),
            AccountError::Store(error) => refusal(error),
            AccountError::Kind { .. }
            | AccountError::Role(_)
            | AccountError::Key(_)
            | AccountError::OtherKey { .. }
            | AccountError::Name(_) => Self::invalid_argument(text),
        }
    }
}

#[tonic::async_trait]
impl ManagementService for Management {
    async fn kubeconfig(&self, request: Request<KubeconfigRequest>) -> Answered<KubeconfigResponse> {
        self.kubeconfig_for(request).await
    }

    async fn talosconfig(&self, request: Request<TalosconfigRequest>) -> Answered<TalosconfigResponse> {
        self.talosconfig_for(request).await
    }

    async fn omniconfig(&self, request: Request<()>) -> Answered<OmniconfigResponse> {
        self.omniconfig_of(&Caller::of(request.extensions()))
    }

    type MachineLogsStream = Messages<Data>;

    async fn machine_logs(&self, request: Request<MachineLogsRequest>) -> Answered<Self::MachineLogsStream> {
        self.lines(request.into_inner()).await
    }

    async fn validate_config(&self, request: Request<ValidateConfigRequest>) -> Answered<()> {
        access::validate(&request.into_inner().config)
    }

    async fn validate_json_schema(
        &self,
        _: Request<ValidateJsonSchemaRequest>,
    ) -> Answered<ValidateJsonSchemaResponse> {
        later("ValidateJSONSchema", "the provider checks its data itself when it makes a machine")
    }

    async fn create_service_account(
        &self,
        request: Request<CreateServiceAccountRequest>,
    ) -> Answered<CreateServiceAccountResponse> {
        let (caller, request) = opened(request);
        self.create_program(&caller, request).await
    }

    async fn renew_service_account(
        &self,
        request: Request<RenewServiceAccountRequest>,
    ) -> Answered<RenewServiceAccountResponse> {
        let (caller, request) = opened(request);
        self.renew_program(&caller, request).await
    }

    async fn list_service_accounts(&self, _: Request<()>) -> Answered<ListServiceAccountsResponse> {
        Ok(Response::new(self.programs()))
    }

    async fn destroy_service_account(&self, request: Request<DestroyServiceAccountRequest>) -> Answered<()> {
        let (caller, request) = opened(request);
        self.destroy_program(&caller, &request.name).await
    }

    async fn kubernetes_upgrade_pre_checks(
        &self,
        _: Request<KubernetesUpgradePreChecksRequest>,
    ) -> Answered<KubernetesUpgradePreChecksResponse> {
        later("KubernetesUpgradePreChecks", "the KubernetesUpgradeStatus says which versions may follow")
    }

    type KubernetesSyncManifestsStream = Messages<KubernetesSyncManifestResponse>;

    async fn kubernetes_sync_manifests(
        &self,
        _: Request<KubernetesSyncManifestRequest>,
    ) -> Answered<Self::KubernetesSyncManifestsStream> {
        later("KubernetesSyncManifests", "apply the manifests with kubectl")
    }

    async fn create_schematic(
        &self,
        request: Request<CreateSchematicRequest>,
    ) -> Answered<CreateSchematicResponse> {
        self.new_schematic(request.into_inner()).await
    }

    async fn create_schematic_from_raw(
        &self,
        request: Request<CreateSchematicFromRawRequest>,
    ) -> Answered<CreateSchematicResponse> {
        self.raw_schematic(request.into_inner()).await
    }

    async fn get_boot_asset_url(
        &self,
        request: Request<BootAssetUrlRequest>,
    ) -> Answered<BootAssetUrlResponse> {
        self.boot_asset(request.get_ref())
    }

    type GetSupportBundleStream = Messages<GetSupportBundleResponse>;

    async fn get_support_bundle(
        &self,
        request: Request<GetSupportBundleRequest>,
    ) -> Answered<Self::GetSupportBundleStream> {
        let (caller, request) = opened(request);
        self.support_bundle(&caller, request).await
    }

    type ReadAuditLogStream = Messages<ReadAuditLogResponse>;

    async fn read_audit_log(
        &self,
        request: Request<ReadAuditLogRequest>,
    ) -> Answered<Self::ReadAuditLogStream> {
        let messages = self.audit_log.read(request.into_inner()).await?;
        Ok(Response::new(messages))
    }

    async fn maintenance_upgrade(
        &self,
        _: Request<MaintenanceUpgradeRequest>,
    ) -> Answered<MaintenanceUpgradeResponse> {
        later("MaintenanceUpgrade", "upgrade the machine with talosctl --insecure")
    }

    type MaintenanceLifecycleStream = Messages<MaintenanceLifecycleResponse>;

    async fn maintenance_lifecycle(
        &self,
        _: Request<MaintenanceLifecycleRequest>,
    ) -> Answered<Self::MaintenanceLifecycleStream> {
        later("MaintenanceLifecycle", "put the machine into a cluster, which installs it")
    }

    async fn get_machine_join_config(
        &self,
        request: Request<GetMachineJoinConfigRequest>,
    ) -> Answered<GetMachineJoinConfigResponse> {
        self.machine_join_config(&request.into_inner())
    }

    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Answered<CreateJoinTokenResponse> {
        let (caller, request) = opened(request);
        self.new_join_token(&caller, request).await
    }

    async fn reset_node_unique_token(
        &self,
        request: Request<ResetNodeUniqueTokenRequest>,
    ) -> Answered<ResetNodeUniqueTokenResponse> {
        let (caller, request) = opened(request);
        self.forget_machine(&caller, &request.id).await
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Answered<CreateUserResponse> {
        let (caller, request) = opened(request);
        self.new_user(&caller, &request).await
    }

    async fn list_users(&self, _: Request<()>) -> Answered<ListUsersResponse> {
        Ok(Response::new(self.users()))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Answered<()> {
        let (caller, request) = opened(request);
        self.change_user(&caller, &request).await
    }

    async fn destroy_user(&self, request: Request<DestroyUserRequest>) -> Answered<()> {
        let (caller, request) = opened(request);
        self.remove_user(&caller, &request.email).await
    }

    async fn machine_power_off(
        &self,
        _: Request<MachinePowerOffRequest>,
    ) -> Answered<MachinePowerOffResponse> {
        later("MachinePowerOff", "shut the machine down with talosctl")
    }

    async fn machine_power_on(&self, _: Request<MachinePowerOnRequest>) -> Answered<MachinePowerOnResponse> {
        later("MachinePowerOn", "switch it on by its power state in InfraMachineConfigs")
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! The service over a store of tests.

    use corten_base::Rng;

    use super::*;
    use crate::audit::NoAudit;
    use crate::testing::Fleet;

    pub(crate) fn management(fleet: &Fleet, options: ManagementOptions) -> Management {
        Management {
            state: fleet.state.clone(),
            clock: fleet.clock.clone(),
            rng: Rng::seeded(1),
            options,
            audit: Arc::new(NoAudit),
            clusters: Arc::new(NoClusterAccess),
            logs: Arc::new(NoMachineLogs),
            audit_log: Arc::new(NoAuditLog),
            support: Arc::new(NoSupportBundles),
            images: Arc::new(NoImageFactory),
        }
    }

    /// A request of this caller.
    pub(crate) fn from<T>(caller: &Arc<Caller>, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(Arc::clone(caller));
        request
    }
}
