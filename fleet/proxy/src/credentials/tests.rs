//! Wishes for client configurations, over a store of tests.

use corten_config::yaml;
use corten_fleet_api::management::Login;
use corten_fleet_auth::Email;
use corten_fleet_resources::cluster::ClusterTaint;
use corten_fleet_resources::labels::annotation;
use corten_pki::Certificate;
use parking_lot::Mutex;
use serde_json::Value;
use tonic::Code;

use super::*;
use crate::testing::{CLUSTER, put_secrets, store};

/// Ids of what was told, with who made it.
#[derive(Default)]
struct Told(Mutex<Vec<(String, String)>>);

impl Audit for Told {
    fn record(&self, event: AuditEvent) {
        self.0.lock().push((event.resource.kind, event.actor.email));
    }
}

fn credentials(told: &Arc<Told>) -> ClusterCredentials {
    let state = store();
    let clock = state.store().clock().clone();
    let options = CredentialOptions {
        name: "steel".to_owned(),
        api_url: "https://fleet.example.org".to_owned(),
        kubernetes_url: "https://fleet.example.org:8095".to_owned(),
        ..CredentialOptions::default()
    };
    ClusterCredentials {
        keys: JwtKeys::new(state.clone(), clock.clone()),
        state,
        clock,
        rng: Rng::seeded(1),
        audit: Arc::clone(told) as Arc<dyn Audit>,
        options,
    }
}

fn kim() -> Email {
    Email::parse("kim@example.com").expect("an address")
}

fn kubeconfig_of(kind: KubeconfigKind) -> KubeconfigWish {
    KubeconfigWish { cluster: CLUSTER.to_owned(), email: kim(), kind }
}

fn for_tool(user: &str) -> KubeconfigWish {
    let groups = vec!["deployers".to_owned()];
    let lifetime = Duration::from_secs(3600);
    kubeconfig_of(KubeconfigKind::ServiceAccount { user: user.to_owned(), groups, lifetime })
}

fn read(file: Vec<u8>) -> Value {
    yaml::parse(&String::from_utf8(file).expect("text")).expect("YAML").remove(0)
}

#[tokio::test]
async fn a_tool_gets_a_token_that_holds_and_is_told() {
    let told = Arc::new(Told::default());
    let credentials = credentials(&told);
    let file = read(credentials.kubeconfig(for_tool("ci")).await.expect("made"));
    let token = file["users"][0]["user"]["token"].as_str().expect("a token");
    let visitor = credentials.keys.verify(token).expect("it holds");
    assert_eq!((visitor.claims.subject.as_str(), visitor.claims.cluster.as_str()), ("ci", CLUSTER));
    assert_eq!(visitor.claims.issuer, "omni-steel-service-account-issuer");
    let expected = ("JWTPublicKeys.system.sidero.dev".to_owned(), "kim@example.com".to_owned());
    assert_eq!(*told.0.lock(), [expected]);
    let status = credentials.kubeconfig(for_tool("a\nb")).await.expect_err("no name");
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_person_needs_a_provider_to_log_in_at() {
    let mut credentials = credentials(&Arc::default());
    let wish = || kubeconfig_of(KubeconfigKind::Person(Login::default()));
    let status = credentials.kubeconfig(wish()).await.expect_err("nowhere to log in");
    assert_eq!(status.code(), Code::Unimplemented);
    credentials.options.has_login = true;
    credentials.kubeconfig(wish()).await.expect("made");
}

#[tokio::test]
async fn a_talosconfig_goes_through_the_manager_for_one_cluster_or_all_machines() {
    let credentials = credentials(&Arc::default());
    for (cluster, name) in [(Some(CLUSTER), "steel-prod"), (None, "steel")] {
        let cluster = cluster.map(str::to_owned);
        let wish = TalosconfigWish { cluster: cluster.clone(), email: kim(), kind: TalosconfigKind::Manager };
        let file = credentials.talosconfig(wish).await.expect("made");
        let config = TalosConfig::parse(&String::from_utf8(file).expect("text")).expect("a talosconfig");
        assert_eq!(config.context, name);
        let context = config.context(None).expect("the current one");
        assert_eq!(context.endpoints, ["https://fleet.example.org"]);
        assert_eq!(context.cluster, cluster.unwrap_or_default());
        let identity = context.auth.clone().and_then(|auth| auth.siderov1).expect("an identity");
        assert_eq!(identity.identity, "kim@example.com");
    }
}

#[tokio::test]
async fn what_goes_around_the_manager_marks_the_cluster_and_leads_to_its_machines() {
    let told = Arc::new(Told::default());
    let credentials = credentials(&told);
    let wish = |cluster: Option<&str>| TalosconfigWish {
        cluster: cluster.map(str::to_owned),
        email: kim(),
        kind: TalosconfigKind::BreakGlass,
    };
    let status = credentials.talosconfig(wish(Some(CLUSTER))).await.expect_err("no secrets");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(credentials.state.get::<ClusterTaint>(CLUSTER).is_none(), "nothing was given away");
    put_secrets(&credentials.state);
    let file = credentials.talosconfig(wish(Some(CLUSTER))).await.expect("made");
    let config = TalosConfig::parse(&String::from_utf8(file).expect("text")).expect("a talosconfig");
    let context = config.context(Some("steel-prod-break-glass")).expect("a context");
    assert_eq!(context.endpoints, ["10.0.0.1"]);
    let [_, certificate, _] = context.pem().expect("base64");
    let certificate = Certificate::from_pem(&certificate).expect("a certificate");
    assert_eq!(certificate.subject().organizations, ["os:admin"]);
    let time = |state: &State| {
        let taint = state.get::<ClusterTaint>(CLUSTER).expect("marked");
        taint.metadata.annotations.get(annotation::TAINTED_BY_BREAK_GLASS_TIMESTAMP).cloned()
    };
    assert_eq!(time(&credentials.state).as_deref(), Some("2023-11-14T22:13:20Z"));
    credentials.clock.advance(Duration::from_secs(1));
    let file = credentials.kubeconfig(kubeconfig_of(KubeconfigKind::BreakGlass)).await.expect("made");
    assert_eq!(read(file)["clusters"][0]["cluster"]["server"], "https://10.0.0.1:6443");
    assert_eq!(time(&credentials.state).as_deref(), Some("2023-11-14T22:13:21Z"));
    assert_eq!(told.0.lock().len(), 2);
}
