//! Calls that no program makes: joining with whatever a request holds, and signed calls of another time, or once more.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use corten_api::management::CreateJoinTokenRequest;
use corten_api::management::management_service_client::ManagementServiceClient;
use corten_api::sidero::link::provision_service_client::ProvisionServiceClient;
use corten_api::sidero::link::{ProvisionRequest, ProvisionResponse};
use corten_base::{Rng, Secret};
use corten_config::values::to_base64;
use corten_fleet_auth::ServiceAccountKey;
use corten_fleet_auth::signature::{PAYLOAD, SIGNATURE, TIMESTAMP};
use serde_json::json;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// What a call may take; a manager holds the answer to a machine that joins for up to five seconds.
const CALL_MAX: Duration = Duration::from_secs(20);
/// A method that changes something, so that nobody may repeat a call of it.
pub const CREATE_JOIN_TOKEN: &str = "/management.ManagementService/CreateJoinToken";

/// Asks for a place as a machine does. The inner error is the manager's answer.
pub fn provision(
    machine_api: SocketAddr,
    request: ProvisionRequest,
) -> Result<Result<ProvisionResponse, Status>> {
    block_on(async move {
        let mut client = ProvisionServiceClient::new(channel(machine_api).await?);
        Ok(client.provision(request).await.map(tonic::Response::into_inner))
    })
}

/// What a machine of the present sends that has never been here.
#[must_use]
pub fn newcomer(uuid: &str, public_key: &str, token: &str) -> ProvisionRequest {
    ProvisionRequest {
        node_uuid: uuid.to_owned(),
        node_public_key: public_key.to_owned(),
        join_token: Some(token.to_owned()),
        node_unique_token: Some(String::new()),
        talos_version: Some(corten_base::version::TAG.to_owned()),
        wireguard_over_grpc: None,
    }
}

/// The headers of a signed call, which can be sent more than once.
#[derive(Clone, Debug)]
pub struct SignedHeaders {
    timestamp: String,
    payload: String,
    signature: String,
}

impl SignedHeaders {
    /// Signs a call of this method as if it were then.
    pub fn new(key: &str, method: &str, then: SystemTime) -> Result<Self> {
        let key = ServiceAccountKey::decode(&Secret::new(key.to_owned())).context("the key is none")?;
        let timestamp = then.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let headers = json!({ (TIMESTAMP): [timestamp] });
        let payload = json!({ "headers": headers, "method": method }).to_string();
        let bytes = key.sign(payload.as_bytes(), &Rng::kernel(), then).context("cannot sign")?;
        let fingerprint = key.public().context("the key has no public half")?.id().to_owned();
        let signature = format!("siderov1 {} {fingerprint} {}", key.name(), to_base64(bytes));
        Ok(Self { timestamp, payload, signature })
    }

    /// The same with another signature, which is none.
    #[must_use]
    pub fn forged(&self) -> Self {
        let mut forged = self.clone();
        let words: Vec<&str> = self.signature.split(' ').take(3).collect();
        forged.signature = format!("{} {}", words.join(" "), to_base64([7_u8; 64]));
        forged
    }

    /// Puts the headers into a request.
    pub fn put<T>(&self, request: &mut Request<T>) -> Result<()> {
        for (name, value) in
            [(TIMESTAMP, &self.timestamp), (PAYLOAD, &self.payload), (SIGNATURE, &self.signature)]
        {
            let value = MetadataValue::<Ascii>::try_from(value.as_str());
            request.metadata_mut().insert(name, value.with_context(|| format!("{name} is no header"))?);
        }
        Ok(())
    }

    /// Creates a join token with these headers. The inner error is the manager's answer.
    pub fn create_join_token(&self, api: SocketAddr, name: &str) -> Result<Result<String, Status>> {
        let mut request =
            Request::new(CreateJoinTokenRequest { name: name.to_owned(), expiration_time: None });
        self.put(&mut request)?;
        block_on(async move {
            let mut client = ManagementServiceClient::new(channel(api).await?);
            Ok(client.create_join_token(request).await.map(|answer| answer.into_inner().id))
        })
    }
}

async fn channel(address: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).context("no address of a manager")?;
    let endpoint = endpoint.connect_timeout(CALL_MAX).timeout(CALL_MAX);
    endpoint.connect().await.with_context(|| format!("the manager does not answer at {address}"))
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start a runtime")?.block_on(work)
}

#[cfg(test)]
mod tests {
    use corten_fleet_auth::ServiceAccount;

    use super::*;

    fn key() -> String {
        let account = ServiceAccount::parse("ci").unwrap();
        let now = SystemTime::now();
        let key = ServiceAccountKey::generate(&account, Duration::from_secs(3600), &Rng::kernel(), now);
        key.unwrap().encode().unwrap().reveal().clone()
    }

    #[test]
    fn a_signed_call_names_its_method_and_its_time() {
        let then = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let headers = SignedHeaders::new(&key(), CREATE_JOIN_TOKEN, then).unwrap();
        assert_eq!(headers.timestamp, "1790000000");
        assert!(headers.payload.contains(r#""method":"/management.ManagementService/CreateJoinToken""#));
        assert!(headers.payload.contains(r#"{"x-sidero-timestamp":["1790000000"]}"#), "{}", headers.payload);
        assert!(headers.signature.starts_with("siderov1 ci "));
        let forged = headers.forged();
        assert_eq!(forged.payload, headers.payload);
        assert_ne!(forged.signature, headers.signature);
    }
}
