//! The client library as the command line uses it, against apid.

use corten_apid::Access;
use corten_base::Clock;
use corten_client::{Client, Context, TalosConfig};
use corten_pki::Certificate;
use tonic::Code;

use super::node::{Node, Setup, with_roles};

#[tokio::test]
async fn a_context_is_all_it_takes() {
    let (a, _b) = Node::pair().await;
    let own = with_roles(&a.authority, &["os:reader"]);
    let mut context =
        Context { endpoints: vec!["127.0.0.1:1".to_owned(), a.address.to_string()], ..Context::default() };
    let ca = a.authority.certificate().to_pem();
    context.set_pem(ca.as_bytes(), own.certificate.to_pem().as_bytes(), own.key.to_pem().reveal().as_bytes());
    let config = TalosConfig { context: "test".to_owned(), contexts: [("test".to_owned(), context)].into() };
    let config = TalosConfig::parse(&config.to_yaml()).expect("its own text");
    let client = Client::from_context(config.context(None).expect("current"), &[], &Clock::system())
        .expect("a client");
    for (node, name) in [(None, "a"), (Some("127.0.0.2"), "b")] {
        let client = node.map_or_else(|| client.clone(), |node| client.node(node));
        let answer = client.machine().hostname(()).await.expect("an answer").into_inner();
        assert_eq!((answer.messages[0].hostname.as_str(), &answer.messages[0].metadata), (name, &None));
    }
    let denied =
        client.machine().reboot(corten_api::machine::RebootRequest::default()).await.expect_err("a reader");
    assert_eq!((denied.code(), denied.message()), (Code::PermissionDenied, "not authorized"));
}

#[tokio::test]
async fn maintenance_is_trusted_by_fingerprint() {
    let change = |identity: &mut corten_apid::Identity| {
        identity.access = Access::ReadOnly;
        identity.verify_clients = false;
    };
    let node = Node::start(Setup { change, ..Setup::alone() }).await;
    let shown = node
        .feed
        .borrow()
        .as_ref()
        .map(|identity| identity.server.certificates.clone())
        .expect("an identity");
    let fingerprint = Certificate::from_pem(&shown).expect("a certificate").fingerprint();
    let endpoint = node.address.to_string();
    for (fingerprints, welcome) in
        [(vec![], true), (vec![fingerprint], true), (vec!["AAAA".to_owned()], false)]
    {
        let client = Client::insecure(&endpoint, &fingerprints, &Clock::system()).expect("a client");
        assert_eq!(client.machine().hostname(()).await.is_ok(), welcome, "{fingerprints:?}");
    }
}
