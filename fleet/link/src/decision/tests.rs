//! One row for each branch of the procedure.

use std::collections::BTreeSet;

use super::*;
use crate::known::{KnownPending, Machines, TokenKey};
use crate::request::TalosVersion;
use crate::token::SignedToken;

const UUID: &str = "0b1f2a3c-0000-4000-8000-000000000001";
const KEY: &str = "key-of-this-boot";
const JOIN: &str = "secret-join";

/// A call, and what decides about it.
struct Case {
    request: Request,
    known: Known,
    policy: Policy,
}

impl Case {
    /// The machine runs a Talos of this version.
    fn runs(&mut self, version: &str) {
        self.request.version = TalosVersion::parse(Some(version));
    }

    fn sends(&mut self, unique: Option<UniqueToken>) {
        self.request.unique_token = unique;
    }

    /// The machine sends a token of version 2 with extra data, signed with the key that the store knows.
    fn sends_signed(&mut self, entries: &[(&str, &str)]) {
        let data = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.request.join_token = Some(JoinToken::V2(SignedToken::sign(data, &secret(JOIN))));
    }

    fn revoked(&mut self) {
        self.known.key = Some(TokenKey { token: secret(JOIN), is_active: false });
    }

    fn linked(&mut self, unique_token: Option<UniqueToken>) -> &mut KnownLink {
        self.known.link.insert(KnownLink {
            phase: Phase::Running,
            node_subnet: net(1),
            public_key: "key-of-an-earlier-boot".to_owned(),
            virtual_peer: None,
            unique_token,
            force_valid: false,
            wiped_token: None,
            labels: ExtraData::new(),
        })
    }

    fn pending(&mut self) -> &mut KnownPending {
        let pending = KnownPending { node_subnet: net(2), virtual_peer: None, talos_installed: false };
        self.known.pending.insert(pending)
    }

    fn full(&mut self) {
        self.known.machines = Machines { registered: 3, limit: Some(3) };
    }

    fn registered(&mut self, provider: &str) {
        self.known.providers = BTreeSet::from([provider.to_owned()]);
    }
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn net(host: u16) -> Ipv6Net {
    format!("fdae:41e4:649b:9303::{host}/64").parse().unwrap()
}

fn peer(host: u16) -> SocketAddrV6 {
    format!("[fdae:41e4:649b:9304::{host}]:50889").parse().unwrap()
}

fn unique(fingerprint: &str, token: &str) -> UniqueToken {
    UniqueToken::new(fingerprint.to_owned(), secret(token)).unwrap()
}

/// The token of the machine in all cases.
fn own() -> UniqueToken {
    unique("0a", "secret-own")
}

/// The same machine after it lost its token and was given another one.
fn reimaged() -> UniqueToken {
    unique("0a", "secret-new")
}

/// Another machine.
fn other() -> UniqueToken {
    unique("0b", "secret-other")
}

/// The decision about a machine of Talos 1.10 with an active join token and its unique token, which nobody knows yet,
/// after `edit`.
fn decided(edit: fn(&mut Case)) -> Decision {
    let request = Request {
        uuid: UUID.to_owned(),
        public_key: KEY.to_owned(),
        join_token: Some(JoinToken::Plain(secret(JOIN))),
        unique_token: Some(own()),
        version: TalosVersion::parse(Some("v1.10.0")),
        wants_tunnel: false,
    };
    let known = Known { key: Some(TokenKey { token: secret(JOIN), is_active: true }), ..Known::default() };
    let mut case = Case { request, known, policy: Policy::default() };
    edit(&mut case);
    decide(&case.request, &case.known, &case.policy)
}

/// One row: what is special, and what is decided.
fn check(expected: &str, edit: fn(&mut Case)) {
    let decision = match decided(edit) {
        Decision::Link(plan) => format!("{:?} link", plan.action),
        Decision::Pending(plan) if plan.uuid_conflict => format!("{:?} pending in conflict", plan.action),
        Decision::Pending(plan) => format!("{:?} pending", plan.action),
        Decision::Refuse(refusal) => {
            assert!(!refusal.message.contains("secret-"), "{refusal}");
            format!("{:?}", refusal.code)
        }
    };
    assert_eq!(decision, expected);
}

fn link(edit: fn(&mut Case)) -> LinkPlan {
    match decided(edit) {
        Decision::Link(plan) => plan,
        other => panic!("{other:?}"),
    }
}

fn pending(edit: fn(&mut Case)) -> PendingPlan {
    match decided(edit) {
        Decision::Pending(plan) => plan,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_policy_and_the_version_choose_the_path() {
    check("Create link", |_| ());
    check("Create link", |case| case.policy.mode = JoinMode::Strict);
    check("Create link", |case| case.policy.mode = JoinMode::Legacy);
    check("Create link", |case| case.runs("v1.5.0"));
    check("FailedPrecondition", |case| {
        case.policy.mode = JoinMode::Strict;
        case.runs("v1.5.0");
    });
}

#[test]
fn the_legacy_path_wants_a_join_token_and_leaves_known_machines_alone() {
    check("Create link", |case| {
        case.runs("v1.5.0");
        case.sends(None);
    });
    check("Refresh link", |case| {
        case.runs("v1.5.0");
        case.linked(None);
    });
    check("PermissionDenied", |case| {
        case.runs("v1.5.0");
        case.linked(Some(own()));
    });
    check("PermissionDenied", |case| {
        case.policy.mode = JoinMode::Legacy;
        case.linked(Some(own()));
    });
    check("PermissionDenied", |case| {
        case.runs("v1.5.0");
        case.revoked();
    });
    assert_eq!(link(|case| case.policy.mode = JoinMode::Legacy).unique_token, None);
}

#[test]
fn the_secure_path_wants_a_join_token_or_the_unique_token_of_the_link() {
    check("PermissionDenied", |case| case.request.join_token = None);
    check("PermissionDenied", |case| case.known.key = None);
    check("PermissionDenied", Case::revoked);
    check("PermissionDenied", |case| case.request.join_token = Some(JoinToken::Plain(secret("another"))));
    check("PermissionDenied", |case| {
        case.sends(None);
        case.revoked();
    });
    check("Refresh link", |case| {
        case.linked(Some(own()));
        case.revoked();
    });
    check("Refresh link", |case| {
        case.linked(Some(own()));
        case.request.join_token = None;
    });
    check("PermissionDenied", |case| {
        case.linked(Some(reimaged()));
        case.revoked();
    });
    check("PermissionDenied", |case| {
        case.linked(Some(other()));
        case.revoked();
    });
    check("PermissionDenied", |case| {
        case.linked(None);
        case.revoked();
    });
}

#[test]
fn the_unique_token_tells_machines_apart() {
    check("Refresh link", |case| {
        case.linked(Some(own())).force_valid = true;
    });
    check("Refresh link", |case| {
        case.linked(None);
    });
    check("Refresh link", |case| {
        case.linked(Some(reimaged()));
    });
    check("PermissionDenied", |case| {
        case.linked(Some(reimaged())).force_valid = true;
    });
    check("Refresh link", |case| {
        let link = case.linked(Some(reimaged()));
        (link.force_valid, link.wiped_token) = (true, Some(reimaged()));
    });
    check("PermissionDenied", |case| {
        let link = case.linked(Some(reimaged()));
        (link.force_valid, link.wiped_token) = (true, Some(other()));
    });
    check("Create pending in conflict", |case| {
        case.linked(Some(other()));
    });
    check("Refresh pending in conflict", |case| {
        case.linked(Some(other()));
        case.pending();
    });
}

#[test]
fn a_machine_without_unique_token_is_pending() {
    check("Create pending", |case| case.sends(None));
    check("Refresh pending", |case| {
        case.sends(None);
        case.pending();
    });
    check("Create pending", |case| {
        case.sends(None);
        case.linked(Some(own()));
    });
}

#[test]
fn links_that_go_away_limits_and_unknown_providers_refuse() {
    check("AlreadyExists", |case| case.linked(Some(own())).phase = Phase::TearingDown);
    check("AlreadyExists", |case| {
        case.sends(None);
        case.linked(Some(own())).phase = Phase::TearingDown;
    });
    check("PermissionDenied", |case| {
        case.linked(Some(other())).phase = Phase::TearingDown;
        case.revoked();
    });
    check("ResourceExhausted", Case::full);
    check("ResourceExhausted", |case| {
        case.sends(None);
        case.full();
    });
    check("Refresh link", |case| {
        case.linked(Some(own()));
        case.full();
    });
    check("NotFound", |case| case.sends_signed(&[(INFRA_PROVIDER_ID, "metal")]));
    check("NotFound", |case| {
        case.linked(Some(own())).labels.insert(INFRA_PROVIDER_ID.to_owned(), "metal".to_owned());
    });
    check("Create link", |case| {
        case.sends_signed(&[(INFRA_PROVIDER_ID, "metal")]);
        case.registered("metal");
    });
    check("Create pending in conflict", |case| {
        case.linked(Some(other())).labels.insert(INFRA_PROVIDER_ID.to_owned(), "metal".to_owned());
    });
}

#[test]
fn a_link_has_the_labels_of_a_good_join_token_only() {
    let labels = |plan: LinkPlan| plan.labels.into_values().collect::<Vec<_>>();
    let told = link(|case| {
        case.sends_signed(&[(INFRA_PROVIDER_ID, "metal"), (MACHINE_REQUEST, "r-1"), ("cluster", "theirs")]);
        case.registered("metal");
    });
    assert_eq!(labels(told), ["metal", "r-1"]);
    let forged = link(|case| {
        case.sends_signed(&[(MACHINE_REQUEST, "forged")]);
        case.linked(Some(own())).labels.insert(MACHINE_REQUEST.to_owned(), "r-1".to_owned());
        case.revoked();
    });
    assert_eq!(labels(forged), ["r-1"]);
}

#[test]
fn usage_names_the_join_token_that_let_the_machine_in() {
    assert_eq!(link(|_| ()).usage, Some(secret(JOIN)));
    let signed = link(|case| case.sends_signed(&[(MACHINE_REQUEST, "r-1")]));
    assert_eq!(signed.usage, Some(secret(JOIN)), "the default join token");
    let provided = link(|case| {
        case.sends_signed(&[(INFRA_PROVIDER_ID, "metal")]);
        case.registered("metal");
    });
    assert!(provided.usage.is_some_and(|usage| usage.reveal().starts_with("v2:")));
    let alone = link(|case| {
        case.linked(Some(own()));
        case.revoked();
    });
    assert_eq!(alone.usage, None);
}

#[test]
fn addresses_stay_with_the_link_and_a_peer_has_one() {
    assert_eq!(link(|_| ()).address, Choice::Fresh);
    let promoted = link(|case| case.pending().talos_installed = true);
    assert_eq!((promoted.address, promoted.ends_pending), (Choice::Keep(net(2)), true));
    let both = link(|case| {
        case.linked(Some(own()));
        case.pending();
    });
    assert_eq!(both.address, Choice::Keep(net(1)));
    assert_eq!(pending(|case| case.sends(None)).address, Choice::Fresh);
    let collision = pending(|case| {
        case.linked(Some(other()));
    });
    assert_eq!(collision.address, Choice::Fresh);
    let same_boot = pending(|case| {
        case.sends(None);
        case.linked(None).public_key = KEY.to_owned();
    });
    assert_eq!(same_boot.address, Choice::Keep(net(1)));
}

#[test]
fn a_virtual_peer_stays_until_the_next_boot() {
    assert_eq!(link(|_| ()).virtual_peer, None);
    assert_eq!(link(|case| case.request.wants_tunnel = true).virtual_peer, Some(Choice::Fresh));
    assert_eq!(link(|case| case.policy.enforce_tunnel = true).virtual_peer, Some(Choice::Fresh));
    let kept = |case: &mut Case| {
        case.known.wants_tunnel = true;
        let link = case.linked(Some(own()));
        (link.virtual_peer, link.public_key) = (Some(peer(1)), KEY.to_owned());
    };
    assert_eq!(link(kept).virtual_peer, Some(Choice::Keep(peer(1))));
    let rebooted = link(|case| {
        case.known.wants_tunnel = true;
        case.linked(Some(own())).virtual_peer = Some(peer(1));
    });
    assert_eq!(rebooted.virtual_peer, Some(Choice::Fresh));
    let promoted = link(|case| {
        case.known.wants_tunnel = true;
        case.pending().virtual_peer = Some(peer(2));
    });
    assert_eq!(promoted.virtual_peer, Some(Choice::Keep(peer(2))));
}

#[test]
fn a_token_on_a_disk_is_forced_until_it_is_wiped() {
    assert!(!link(|_| ()).force_valid);
    assert!(link(|case| case.pending().talos_installed = true).force_valid);
    assert!(link(|case| case.linked(Some(own())).force_valid = true).force_valid);
    let wiped = link(|case| {
        let link = case.linked(Some(reimaged()));
        (link.force_valid, link.wiped_token) = (true, Some(reimaged()));
    });
    assert!(!wiped.force_valid);
    assert_eq!(wiped.unique_token, Some(own()));
}
