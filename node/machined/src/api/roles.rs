//! Who may call what, from outside: every method and every type of resource, as everybody, over every way in.
//!
//! ```text
//! one of each role, impersonators, strangers ─▶ apid ─┬──────────▶ machined's services ─▶ let in, refused, closed
//!                                                     └─▶ apid ─▶ machined's services           ≠ table ─▶ red
//! ```
//!
//! apid and the services are the real ones, each machine with its own, in one process. Requests are bytes that no
//! message has: whoever is let in fails at reading them, so that a walk does nothing to anybody.
//! `cargo xtask test roles` runs this alone and prints how much it has compared.

mod rows;
mod walk;
mod world;

use corten_sys::namespace::{Namespaces, unshare};
use corten_sys::network::Links;
use serde_json::json;

use rows::ROWS;
use walk::{Walked, walk_methods, walk_types};
use world::{Caller, SIDEROLINK, Way, World};

/// Runs on a thread whose network has nothing but a loopback, which is in a SideroLink network as well.
fn in_a_network_of_its_own<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    #[expect(
        clippy::disallowed_methods,
        reason = "only a thread of its own can leave the network of the others"
    )]
    let thread = std::thread::spawn(|| {
        unshare(Namespaces::NET).expect("root may unshare");
        let mut links = Links::open().expect("netlink");
        links.set_up("lo").expect("up");
        links.add_address("lo", SIDEROLINK, 64).expect("an address");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
    });
    thread.join().expect("the test passed");
}

/// Fails for wrong answers, and tells how much was compared.
fn finish(what: &str, things: usize, walks: &[(Way, usize, Walked)]) {
    let checks: usize = walks.iter().map(|(_, _, walked)| walked.checks).sum();
    let wrong: Vec<&str> =
        walks.iter().flat_map(|(_, _, walked)| walked.wrong.iter().map(String::as_str)).collect();
    assert!(wrong.is_empty(), "{} of {checks} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    let ways: serde_json::Map<String, serde_json::Value> = walks
        .iter()
        .map(|(way, callers, walked)| {
            (way.name().to_owned(), json!({ "callers": callers, "checks": walked.checks }))
        })
        .collect();
    println!("roles: {}", json!({ what: things, "ways": ways, "checks": checks }));
}

#[test]
fn every_method_has_a_row_and_every_row_a_method() {
    rows::compare_with_descriptors();
}

#[test]
fn every_method_lets_in_whom_its_row_names_over_every_way() {
    in_a_network_of_its_own(|| async {
        let world = World::open().await;
        let mut walks = Vec::new();
        for way in Way::ALL {
            let callers = Caller::of(way);
            walks.push((way, callers.len(), walk_methods(&world, way, &callers).await));
        }
        finish("methods", ROWS.len(), &walks);
    });
}

#[test]
fn every_type_is_read_by_whom_it_is_for_over_every_way() {
    in_a_network_of_its_own(|| async {
        let world = World::open().await;
        let types = walk::types();
        let mut walks = Vec::new();
        for way in Way::ALL.into_iter().filter(|way| *way != Way::Many) {
            let callers = Caller::of(way);
            walks.push((way, callers.len(), walk_types(&world, way, &callers, &types).await));
        }
        finish("types", types.len(), &walks);
    });
}

#[test]
fn a_machine_that_wants_certificates_has_no_answer_for_strangers() {
    in_a_network_of_its_own(|| async {
        let world = World::open().await;
        let answer = world.call(Way::Direct, &Caller::stranger(), rows::VERSION, b"").await;
        assert_eq!(answer.status.code(), tonic::Code::Unavailable, "{answer:?}");
    });
}
