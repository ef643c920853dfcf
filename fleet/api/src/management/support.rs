//! What those who are asked for help need to know of a cluster: who may have it. Another crate collects it.

use corten_api::fleet::Role;
use corten_api::management::{GetSupportBundleRequest, GetSupportBundleResponse};
use tonic::{Response, Status};

use super::access::Answering;
use super::{Answered, Management, Messages};
use crate::caller::Caller;

/// Collects what is known of a cluster. Whether the caller may have it was decided before.
pub trait SupportBundles: Send + Sync {
    /// Progress of each source, then the bundle in one message: clients up to 1.8 take the first message with a part of
    /// the bundle for all of it, and hang after one that has neither progress nor bundle.
    ///
    /// # Errors
    /// `ResourceExhausted` while too many bundles are collected.
    fn collect<'a>(&'a self, cluster: &'a str) -> Answering<'a, Messages<GetSupportBundleResponse>>;
}

/// Collects nothing, and says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSupportBundles;

impl SupportBundles for NoSupportBundles {
    fn collect<'a>(&'a self, _: &'a str) -> Answering<'a, Messages<GetSupportBundleResponse>> {
        let text =
            "this manager collects no support bundles; collect one from the machines with talosctl support";
        Box::pin(std::future::ready(Err(Status::unimplemented(text))))
    }
}

impl Management {
    pub(super) async fn support_bundle(
        &self,
        caller: &Caller,
        request: GetSupportBundleRequest,
    ) -> Answered<Messages<GetSupportBundleResponse>> {
        let GetSupportBundleRequest { cluster, encrypt, encryption_recipients, .. } = request;
        if cluster.is_empty() {
            return Err(Status::invalid_argument("name the cluster that the bundle is to be about"));
        }
        if caller.role_on(&cluster).is_none_or(|role| role < Role::Operator) {
            let text = format!("a support bundle needs the role Operator on the cluster {cluster:?}");
            return Err(Status::permission_denied(format!("{text}; an Admin can change that")));
        }
        if encrypt || !encryption_recipients.is_empty() {
            let text = "this manager does not encrypt support bundles, which hold no secrets; ask for one \
                        with --no-encryption, and encrypt the file with age";
            return Err(Status::unimplemented(text));
        }
        self.exists(&cluster)?;
        let messages = self.support.collect(&cluster).await?;
        Ok(Response::new(messages))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corten_api::management::management_service_server::ManagementService as _;
    use corten_fleet_resources::cluster::Cluster;
    use futures::{StreamExt as _, stream};
    use tonic::Code;

    use super::*;
    use crate::management::ManagementOptions;
    use crate::management::testing::{from, management};
    use crate::testing::{Fleet, PROD};

    /// A bundle with the name of the cluster in it.
    struct Named;

    impl SupportBundles for Named {
        fn collect<'a>(&'a self, cluster: &'a str) -> Answering<'a, Messages<GetSupportBundleResponse>> {
            let bundle_data = cluster.as_bytes().to_vec().into();
            let message = GetSupportBundleResponse { bundle_data, ..GetSupportBundleResponse::default() };
            let messages: Messages<GetSupportBundleResponse> = Box::pin(stream::iter([Ok(message)]));
            Box::pin(std::future::ready(Ok(messages)))
        }
    }

    fn ask(cluster: &str, encrypt: bool) -> GetSupportBundleRequest {
        GetSupportBundleRequest { cluster: cluster.to_owned(), encrypt, ..GetSupportBundleRequest::default() }
    }

    #[tokio::test]
    async fn a_bundle_is_for_operators_of_a_cluster_that_there_is() {
        let fleet = Fleet::new();
        fleet.put(PROD, Cluster::default());
        let mut service = management(&fleet, ManagementOptions::default());
        let (reader, admin) = (fleet.with_role(Role::Reader), fleet.with_role(Role::Admin));
        let operator = fleet.caller(&fleet.operator_of_prod());
        let status = service.get_support_bundle(from(&admin, ask(PROD, false))).await.err().expect("none");
        assert_eq!(status.code(), Code::Unimplemented);
        service.support = Arc::new(Named);
        for (caller, request, code) in [
            (&reader, ask(PROD, false), Code::PermissionDenied),
            (&operator, ask("lab", false), Code::PermissionDenied),
            (&admin, ask("lab", false), Code::NotFound),
            (&admin, ask("", false), Code::InvalidArgument),
            (&admin, ask(PROD, true), Code::Unimplemented),
        ] {
            let status = service.get_support_bundle(from(caller, request)).await.err().expect("refused");
            assert_eq!(status.code(), code, "{}", status.message());
        }
        for caller in [&admin, &operator] {
            let answer = service.get_support_bundle(from(caller, ask(PROD, false))).await;
            let mut messages = answer.expect("answered").into_inner();
            let message = messages.next().await.expect("a message").expect("a message");
            assert_eq!(message.bundle_data, PROD.as_bytes());
        }
    }
}
