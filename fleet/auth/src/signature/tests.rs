//! Tests of signed calls: one call, and everything that can be changed about it.

use std::panic::AssertUnwindSafe;

use corten_base::Rng;
use serde_json::json;

use super::*;
use crate::identity::ServiceAccount;
use crate::key::ServiceAccountKey;

const METHOD: &str = "/management.ManagementService/Omniconfig";
const NOW: u64 = 1_700_000_000;

/// Headers of a call.
#[derive(Clone, Default)]
struct Sent(BTreeMap<String, Vec<String>>);

impl Sent {
    fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), vec![value.to_owned()]);
    }

    fn with(&self, name: &str, value: &str) -> Self {
        let mut sent = self.clone();
        sent.set(name, value);
        sent
    }

    fn get(&self, name: &str) -> Vec<String> {
        self.0.get(name).cloned().unwrap_or_default()
    }

    fn verify(&self, method: &str, now: SystemTime) -> Result<Verified, SignatureError> {
        let headers = |name: &str| self.get(name);
        let call = SignedCall::read(&headers)?.expect("a signature");
        call.verify(method, &headers, &key(), now)
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn account() -> ServiceAccountKey {
    let account = ServiceAccount::Plain("ci".to_owned());
    ServiceAccountKey::generate(&account, Duration::from_secs(3600), &Rng::seeded(1), now()).expect("a key")
}

fn key() -> Key {
    Key::Pgp(Box::new(account().public().expect("public")))
}

fn signature(signed: &str) -> String {
    let bytes = account().sign(signed.as_bytes(), &Rng::seeded(2), now()).expect("signed");
    format!("siderov1 ci {} {}", key().id(), STANDARD.encode(bytes))
}

/// A call that signs this payload.
fn signing(payload: &str) -> Sent {
    let mut sent = Sent::default();
    sent.set(TIMESTAMP, &NOW.to_string());
    sent.set("cluster", "prod");
    sent.set("node", "10.0.0.1");
    sent.set(PAYLOAD, payload);
    sent.set(SIGNATURE, &signature(payload));
    sent
}

/// What a client signs: null for what it does not send, and nothing of `node`.
fn payload() -> String {
    let headers = json!({ TIMESTAMP: [NOW.to_string()], "cluster": ["prod"], "nodes": null, "uid": [] });
    json!({ "headers": headers, "method": METHOD }).to_string()
}

#[test]
fn a_call_as_it_was_signed_is_verified() {
    let verified = signing(&payload()).verify(METHOD, now()).expect("verified");
    assert_eq!((verified.identity.as_str(), verified.fingerprint.as_str()), ("ci", key().id()));
}

#[test]
fn the_payload_counts_as_it_came_and_not_as_it_would_be_written() {
    let spaced = payload().replace(':', " : ");
    assert!(signing(&spaced).verify(METHOD, now()).is_ok());
    let rewritten = signing(&payload()).with(PAYLOAD, &spaced);
    assert!(matches!(rewritten.verify(METHOD, now()), Err(SignatureError::Key(KeyError::Signature))));
}

#[test]
fn another_method_is_refused() {
    let error = signing(&payload()).verify("/management.ManagementService/CreateUser", now());
    assert!(matches!(error, Err(SignatureError::Method { .. })));
}

#[test]
fn a_header_that_was_changed_added_or_removed_is_refused() {
    let sent = signing(&payload());
    let removed = {
        let mut sent = sent.clone();
        sent.0.remove("cluster");
        sent
    };
    for changed in [
        sent.with("cluster", "other"),
        sent.with("nodes", "10.0.0.1"),
        sent.with("uid", "1"),
        sent.with("authorization", "Bearer x"),
        sent.with(TIMESTAMP, &(NOW + 1).to_string()),
        removed,
    ] {
        assert!(matches!(changed.verify(METHOD, now()), Err(SignatureError::Header(_))));
    }
    assert!(sent.with("node", "10.0.0.2").verify(METHOD, now()).is_ok(), "clients do not sign it");
    assert!(sent.with("user-agent", "x").verify(METHOD, now()).is_ok(), "nor this");
}

#[test]
fn what_a_client_signs_beyond_the_usual_is_compared_as_well() {
    let headers = json!({ TIMESTAMP: [NOW.to_string()], "cluster": ["prod"], "Node": ["10.0.0.1"] });
    let sent = signing(&json!({ "headers": headers, "method": METHOD }).to_string());
    assert!(sent.verify(METHOD, now()).is_ok());
    let error = sent.with("node", "10.0.0.2").verify(METHOD, now());
    assert!(matches!(error, Err(SignatureError::Header(name)) if name == "node"));
    let twice = json!({ TIMESTAMP: [NOW.to_string()], "cluster": ["prod"], "Cluster": ["prod"] });
    let sent = signing(&json!({ "headers": twice, "method": METHOD }).to_string());
    assert!(matches!(sent.verify(METHOD, now()), Err(SignatureError::Header(_))));
}

#[test]
fn a_call_without_signed_time_could_be_made_for_ever_and_is_refused() {
    let headers = json!({ "cluster": ["prod"] });
    let sent = signing(&json!({ "headers": headers, "method": METHOD }).to_string());
    assert!(matches!(sent.verify(METHOD, now()), Err(SignatureError::Header(name)) if name == TIMESTAMP));
}

#[test]
fn a_call_is_taken_for_five_minutes_in_both_directions() {
    let sent = signing(&payload());
    let second = Duration::from_secs(1);
    assert!(sent.verify(METHOD, now() + WINDOW).is_ok());
    assert!(sent.verify(METHOD, now() - WINDOW).is_ok());
    for time in [now() + WINDOW + second, now() - WINDOW - second] {
        assert!(matches!(sent.verify(METHOD, time), Err(SignatureError::Window { .. })));
    }
}

#[test]
fn a_key_that_the_call_does_not_name_is_refused() {
    let sent = signing(&payload());
    let headers = |name: &str| sent.get(name);
    let call = SignedCall::read(&headers).expect("read").expect("a signature");
    assert_eq!(call.fingerprint(), key().id());
    let other = ServiceAccount::Plain("other".to_owned());
    let other = ServiceAccountKey::generate(&other, WINDOW, &Rng::seeded(9), now()).expect("a key");
    let other = Key::Pgp(Box::new(other.public().expect("public")));
    let error = call.verify(METHOD, &headers, &other, now());
    assert!(matches!(error, Err(SignatureError::OtherKey)));
}

#[test]
fn a_call_without_signature_is_none_and_a_malformed_one_an_error() {
    assert!(SignedCall::read(&|_: &str| Vec::new()).expect("read").is_none());
    assert!(SignedHttp::read(&|_: &str| vec![String::new()]).expect("read").is_none());
    let sent = signing(&payload());
    for text in [
        "siderov2 ci abc AAAA",
        "siderov1 ci abc",
        "siderov1 ci abc AAAA more",
        "siderov1  abc AAAA",
        "siderov1 ci abc *",
    ] {
        let error = sent.with(SIGNATURE, text).verify(METHOD, now());
        assert!(matches!(error, Err(SignatureError::Form)), "{text}");
    }
    for text in ["", "-1", "1700000000.5", "now"] {
        let error = sent.with(TIMESTAMP, text).verify(METHOD, now());
        assert!(matches!(error, Err(SignatureError::Timestamp | SignatureError::Count { .. })), "{text}");
    }
    let long = "x".repeat(PAYLOAD_MAX + 1);
    let error = sent.with(PAYLOAD, &long).verify(METHOD, now());
    assert!(matches!(error, Err(SignatureError::TooLong { header: PAYLOAD, .. })));
    let mut twice = sent.clone();
    twice.0.insert(PAYLOAD.to_owned(), vec![payload(), payload()]);
    assert!(matches!(twice.verify(METHOD, now()), Err(SignatureError::Count { count: 2, .. })));
    let other = signing("[]").verify(METHOD, now());
    assert!(matches!(other, Err(SignatureError::Payload)));
}

#[test]
fn an_http_request_signs_method_path_time_and_body() {
    let body = b"{}";
    let hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let mut sent = Sent::default();
    sent.set(TIMESTAMP, &NOW.to_string());
    sent.set(SIGNATURE, &signature(&format!("POST\n/image/x?y=1\n{NOW}\n{hash}")));
    let headers = |name: &str| sent.get(name);
    let http = SignedHttp::read(&headers).expect("read").expect("a signature");
    let request = HttpRequest { method: "POST", uri: "/image/x?y=1", body };
    assert_eq!(http.fingerprint(), key().id());
    assert!(http.verify(&request, &key(), now()).is_ok());
    for other in [
        HttpRequest { method: "GET", ..request },
        HttpRequest { uri: "/image/x?y=2", ..request },
        HttpRequest { body: b"{ }", ..request },
    ] {
        let error = http.verify(&other, &key(), now());
        assert!(matches!(error, Err(SignatureError::Key(KeyError::Signature))));
    }
    let late = http.verify(&request, &key(), now() + WINDOW + WINDOW);
    assert!(matches!(late, Err(SignatureError::Window { .. })));
}

#[test]
fn no_headers_make_the_reader_fall_or_pass_what_was_not_signed() {
    let key = AssertUnwindSafe(key());
    bolero::check!().with_type::<(String, String, Vec<u8>)>().for_each(|(payload, words, bytes)| {
        let signature = STANDARD.encode(bytes);
        for text in [words.clone(), format!("siderov1 ci {} {signature}", key.id())] {
            let headers = |name: &str| match name {
                TIMESTAMP => vec![NOW.to_string()],
                PAYLOAD => vec![payload.clone()],
                SIGNATURE => vec![text.clone()],
                _ => Vec::new(),
            };
            if let Ok(Some(call)) = SignedCall::read(&headers) {
                assert!(call.verify(METHOD, &headers, &key, now()).is_err());
            }
        }
    });
}

#[test]
fn no_signed_payload_makes_the_comparison_fall() {
    bolero::check!().with_type::<String>().for_each(|text| {
        let Ok(payload) = serde_json::from_str::<Payload>(text) else { return };
        let _ = compare(payload.headers.unwrap_or_default(), &|_: &str| Vec::new());
    });
}
