//! Signed calls that are not what they say, or with keys that are good no more: each is refused, and none of them does
//! anything.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use corten_api::management::CreateServiceAccountRequest;
use corten_base::Rng;
use corten_fleet_auth::{ServiceAccount, ServiceAccountKey};
use tonic::Code;

use super::raw::{KIND, Raw, class};
use super::waiting;
use crate::cx::Cx;
use crate::fleet::wire::{CREATE_JOIN_TOKEN, SignedHeaders};
use crate::fleet::{ASK_MAX, Manager};

/// A little more than the clocks of both sides may differ (fleet.md 2.6).
const TOO_FAR: Duration = Duration::from_secs(6 * 60);
/// A method that is not the one that is called.
const OTHER: &str = "/management.ManagementService/ListUsers";
/// How long a key is good that does not end within a case.
const LONG: Duration = Duration::from_secs(3600);
/// How long a key is good that does.
const SHORT: Duration = Duration::from_secs(15);
/// How long something is watched that must not happen.
const WATCH: Duration = Duration::from_secs(5);

/// Proves every sentence about calls.
pub fn run(cx: &mut Cx, manager: &Manager) {
    let key = manager.fleet.administrator();
    let sign = |method: &str, then: SystemTime| -> Result<SignedHeaders> {
        let key = key.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        SignedHeaders::new(key, method, then)
    };
    cx.case("a signed call is carried out once, and the same call again is refused", || {
        let headers = sign(CREATE_JOIN_TOKEN, SystemTime::now())?;
        let made = headers.create_join_token(manager.addresses().0, "e2e-once")?;
        made.map_err(|status| anyhow::anyhow!("a good call is refused: {status}"))?;
        refused(manager, &headers, "e2e-twice")
    });
    cx.case("a call from a clock that is late by six minutes is refused", || {
        refused(manager, &sign(CREATE_JOIN_TOKEN, SystemTime::now() - TOO_FAR)?, "e2e-late")
    });
    cx.case("a call from a clock that is early by six minutes is refused", || {
        refused(manager, &sign(CREATE_JOIN_TOKEN, SystemTime::now() + TOO_FAR)?, "e2e-early")
    });
    cx.case("a call with a forged signature is refused", || {
        refused(manager, &sign(CREATE_JOIN_TOKEN, SystemTime::now())?.forged(), "e2e-forged")
    });
    cx.case("a call that was signed for another method is refused", || {
        refused(manager, &sign(OTHER, SystemTime::now())?, "e2e-other")
    });
    keys(cx, manager);
    watch(cx, manager);
}

/// Fails unless a call with these headers is refused, and has made no join token of this name.
fn refused(manager: &Manager, headers: &SignedHeaders, name: &str) -> Result<()> {
    let answer = headers.create_join_token(manager.addresses().0, name)?;
    let status = answer.err().context("the call was carried out")?;
    ensure!(status.code() == Code::Unauthenticated, "{status}");
    let tokens = manager.run(&["jointoken", "list"])?;
    ensure!(!tokens.contains(name), "a refused call has made a token");
    Ok(())
}

/// Makes a service account whose key is good for so long, and gives the key.
fn account(manager: &Manager, name: &str, lifetime: Duration) -> Result<String> {
    let account = ServiceAccount::parse(name).context("the name is none")?;
    let key = ServiceAccountKey::generate(&account, lifetime, &Rng::kernel(), SystemTime::now());
    let key = key.context("cannot make a key")?;
    let public = key.public().context("the key has no public half")?;
    let request = CreateServiceAccountRequest {
        armored_pgp_public_key: public.armored().context("cannot write the key")?,
        use_user_role: false,
        role: "Admin".to_owned(),
        name: name.to_owned(),
    };
    let raw = Raw::administrator(manager)?;
    raw.ask(raw.management().create_service_account(request))?;
    Ok(key.encode().context("cannot write the key")?.reveal().clone())
}

fn destroy(manager: &Manager, account: &str) -> Result<()> {
    manager.run(&["serviceaccount", "destroy", account]).map(drop)
}

fn keys(cx: &mut Cx, manager: &Manager) {
    cx.case("a call that was signed before its key was revoked is refused afterwards", || {
        let key = account(manager, "e2e-revoked", LONG)?;
        manager.client_of(&key).run(&["get", "machines"])?;
        let headers = SignedHeaders::new(&key, CREATE_JOIN_TOKEN, SystemTime::now())?;
        destroy(manager, "e2e-revoked")?;
        refused(manager, &headers, "e2e-of-revoked")
    });
    cx.case("a key is good until its end and not longer", || {
        let key = account(manager, "e2e-short", SHORT)?;
        let client = manager.client_of(&key);
        client.run(&["get", "machines"])?;
        waiting::until(manager, "the end of the key", ASK_MAX, || {
            client.output(&["get", "machines"], None, ASK_MAX)?.failure()
        })?;
        let headers = SignedHeaders::new(&key, CREATE_JOIN_TOKEN, SystemTime::now())?;
        refused(manager, &headers, "e2e-of-expired")?;
        destroy(manager, "e2e-short")
    });
}

fn watch(cx: &mut Cx, manager: &Manager) {
    let file = cx.folder().join("watch-of-revoked.txt");
    cx.case("a watch tells nothing any more once the key of its watcher is revoked", || {
        let raw = Raw::administrator(manager)?;
        let key = account(manager, "e2e-watcher", LONG)?;
        let watcher = manager.client_of(&key).follow(&["get", KIND, "--watch"], &file)?;
        raw.create(class("e2e-before"), "")?;
        waiting::until(manager, "the first event of the watch", ASK_MAX, || {
            let text = watcher.text()?;
            ensure!(text.contains("e2e-before"), "the watch tells `{text}`");
            Ok(())
        })?;
        destroy(manager, "e2e-watcher")?;
        // The connection was not used for a while.
        let raw = Raw::administrator(manager)?;
        raw.create(class("e2e-after"), "")?;
        std::thread::sleep(WATCH);
        let text = watcher.text()?;
        ensure!(!text.contains("e2e-after"), "the watch tells `{text}`");
        raw.remove("e2e-before")?;
        raw.remove("e2e-after")?;
        Ok(())
    });
}
