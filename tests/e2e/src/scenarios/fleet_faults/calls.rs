//! Signed calls that are not what they say: each is refused, and none of them does anything.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use tonic::Code;

use crate::cx::Cx;
use crate::fleet::Manager;
use crate::fleet::wire::{CREATE_JOIN_TOKEN, SignedHeaders};

/// A little more than the clocks of both sides may differ (fleet.md 2.6).
const TOO_FAR: Duration = Duration::from_secs(6 * 60);
/// A method that is not the one that is called.
const OTHER: &str = "/management.ManagementService/ListUsers";

/// Proves every sentence about calls.
pub fn run(cx: &mut Cx, manager: &Manager) {
    let (api, _) = manager.addresses();
    let key = manager.fleet.administrator();
    let sign = |method: &str, then: SystemTime| -> Result<SignedHeaders> {
        let key = key.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        SignedHeaders::new(key, method, then)
    };
    let refused = |headers: &SignedHeaders, name: &str| -> Result<()> {
        let answer = headers.create_join_token(api, name)?;
        let status = answer.err().context("the call was carried out")?;
        ensure!(status.code() == Code::Unauthenticated, "{status}");
        let tokens = manager.run(&["jointoken", "list"])?;
        ensure!(!tokens.contains(name), "a refused call has made a token");
        Ok(())
    };
    cx.case("a signed call is carried out once, and the same call again is refused", || {
        let headers = sign(CREATE_JOIN_TOKEN, SystemTime::now())?;
        let made = headers.create_join_token(api, "e2e-once")?;
        made.map_err(|status| anyhow::anyhow!("a good call is refused: {status}"))?;
        refused(&headers, "e2e-twice")
    });
    cx.case("a call from a clock that is late by six minutes is refused", || {
        refused(&sign(CREATE_JOIN_TOKEN, SystemTime::now() - TOO_FAR)?, "e2e-late")
    });
    cx.case("a call from a clock that is early by six minutes is refused", || {
        refused(&sign(CREATE_JOIN_TOKEN, SystemTime::now() + TOO_FAR)?, "e2e-early")
    });
    cx.case("a call with a forged signature is refused", || {
        refused(&sign(CREATE_JOIN_TOKEN, SystemTime::now())?.forged(), "e2e-forged")
    });
    cx.case("a call that was signed for another method is refused", || {
        refused(&sign(OTHER, SystemTime::now())?, "e2e-other")
    });
}
