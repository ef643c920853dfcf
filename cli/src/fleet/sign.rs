//! Signs every call to the manager.
//!
//! ```text
//! method + headers + time ─▶ payload, JSON ─▶ signature with the key of the service account
//!
//! x-sidero-timestamp   unix seconds
//! x-sidero-payload     {"headers":{"x-sidero-timestamp":["1790000000"]},"method":"/pkg.Service/Method"}
//! x-sidero-signature   siderov1 IDENTITY FINGERPRINT BASE64
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use corten_base::{Clock, Rng};
use corten_config::values::to_base64;
use corten_fleet_auth::signature::{PAYLOAD, SIGNATURE, SIGNED_HEADERS, TIMESTAMP};
use corten_fleet_auth::{KeyError, ServiceAccountKey};
use serde_json::json;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{GrpcMethod, Request, Status};

/// First word of a signature.
const VERSION: &str = "siderov1";
/// Signs calls, and says which cluster they are about. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Calls {
    signer: Arc<Signer>,
    cluster: Option<MetadataValue<Ascii>>,
}

#[derive(Debug)]
struct Signer {
    key: ServiceAccountKey,
    fingerprint: String,
    clock: Clock,
    rng: Rng,
}

impl Calls {
    /// Signs with a key.
    ///
    /// # Errors
    /// When the key is not one that may sign calls.
    pub fn new(key: ServiceAccountKey, clock: Clock, rng: Rng) -> Result<Self, KeyError> {
        let fingerprint = key.public()?.id().to_owned();
        Ok(Self { signer: Arc::new(Signer { key, fingerprint, clock, rng }), cluster: None })
    }

    /// The same for calls about a cluster; `None` when it cannot be the name of one.
    pub fn about(&self, cluster: &str) -> Option<Self> {
        let cluster = MetadataValue::<Ascii>::try_from(cluster).ok()?;
        Some(Self { signer: Arc::clone(&self.signer), cluster: Some(cluster) })
    }

    fn sign(&self, method: &str, metadata: &mut MetadataMap) -> Result<(), Status> {
        if let Some(cluster) = &self.cluster {
            metadata.insert("cluster", cluster.clone());
        }
        let Signer { key, fingerprint, clock, rng } = self.signer.as_ref();
        let now = clock.now();
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        metadata.insert(TIMESTAMP, seconds.into());
        let payload = payload(method, &signed(metadata));
        let failed =
            |error: KeyError| Status::internal(format!("cannot sign: {}", corten_base::chain(&error)));
        let bytes = key.sign(payload.as_bytes(), rng, now).map_err(failed)?;
        let signature = format!("{VERSION} {} {fingerprint} {}", key.name(), to_base64(bytes));
        for (name, value) in [(PAYLOAD, payload), (SIGNATURE, signature)] {
            let value = MetadataValue::<Ascii>::try_from(value);
            let value = value.map_err(|_| Status::internal(format!("cannot send the header {name}")))?;
            metadata.insert(name, value);
        }
        Ok(())
    }
}

impl Interceptor for Calls {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let method = request.extensions().get::<GrpcMethod<'static>>();
        let path = method.map(|method| format!("/{}/{}", method.service(), method.method()));
        let path = path.ok_or_else(|| Status::internal("a call without a method cannot be signed"))?;
        self.sign(&path, request.metadata_mut())?;
        Ok(request)
    }
}

/// The headers that are there and are signed.
fn signed(metadata: &MetadataMap) -> BTreeMap<&'static str, Vec<String>> {
    let values = |name: &'static str| {
        let values = metadata.get_all(name).iter().filter_map(|value| value.to_str().ok());
        (name, values.map(str::to_owned).collect::<Vec<_>>())
    };
    SIGNED_HEADERS.into_iter().map(values).filter(|(_, values)| !values.is_empty()).collect()
}

/// What is signed.
fn payload(method: &str, headers: &BTreeMap<&'static str, Vec<String>>) -> String {
    json!({ "headers": headers, "method": method }).to_string()
}

#[cfg(test)]
mod tests {
    use corten_fleet_auth::{Key, SignedCall};

    use super::*;
    use crate::fleet::access::tests::{NOW, key, now};

    const METHOD: &str = "/management.ManagementService/Kubeconfig";

    fn sent() -> MetadataMap {
        let calls = Calls::new(key(), Clock::fixed(NOW), Rng::seeded(2)).expect("a signer");
        let mut request = Request::new(());
        request.extensions_mut().insert(GrpcMethod::new("management.ManagementService", "Kubeconfig"));
        request.metadata_mut().insert("node", "10.0.0.1".parse().expect("ASCII"));
        let signed = calls.about("prod").expect("a name").call(request).expect("signed");
        signed.metadata().clone()
    }

    fn text<'a>(metadata: &'a MetadataMap, name: &str) -> &'a str {
        metadata.get(name).expect(name).to_str().expect("ASCII")
    }

    #[test]
    fn the_payload_has_method_time_and_the_headers_that_count() {
        let sent = sent();
        assert_eq!(text(&sent, TIMESTAMP), "1790000000");
        assert_eq!(
            text(&sent, PAYLOAD),
            r#"{"headers":{"cluster":["prod"],"x-sidero-timestamp":["1790000000"]},"method":"/management.ManagementService/Kubeconfig"}"#
        );
        let fingerprint = key().public().expect("public").id().to_owned();
        assert!(text(&sent, SIGNATURE).starts_with(&format!("siderov1 ci {fingerprint} ")));
    }

    #[test]
    fn the_manager_verifies_what_is_sent() {
        let sent = sent();
        let headers = |name: &str| -> Vec<String> {
            let values = sent.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.map(str::to_owned).collect()
        };
        let call = SignedCall::read(&headers).expect("readable").expect("signed");
        let key = Key::Pgp(Box::new(key().public().expect("public")));
        let verified = call.verify(METHOD, &headers, &key, now()).expect("verified");
        assert_eq!(verified.identity, "ci");
        assert!(call.verify("/management.ManagementService/Talosconfig", &headers, &key, now()).is_err());
    }

    #[test]
    fn a_call_without_method_is_not_sent() {
        let mut calls = Calls::new(key(), Clock::fixed(NOW), Rng::seeded(2)).expect("a signer");
        assert!(calls.call(Request::new(())).is_err());
        assert!(calls.about("a\nb").is_none());
    }
}
