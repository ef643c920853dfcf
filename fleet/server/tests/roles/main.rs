//! Who may do what, from outside: every method and every type of resource, as everybody, over every transport. And what
//! may be read nowhere: secrets in the store, in logs, in the audit log and in the texts of errors.
//!
//! ```text
//! nobody, one of each role ─▶ Client ─ gRPC, gRPC-Web, HTTP ─▶ corten-fleet serve
//!          │                    └▶ Answer ≠ table ─▶ red                │
//!          └ each write ─▶ Book ◀─ the same counts, by actor ─ audit log┘
//! ```
//!
//! `cargo xtask test fleet-roles` runs this alone and prints how much it has compared.

mod book;
mod client;
#[path = "../manager/mod.rs"]
mod manager;
mod methods;
mod needles;
mod secrets;
mod types;
mod world;

use client::Transport;
use methods::Walked;
use serde_json::json;
use world::World;

/// Fails for wrong answers, and tells how much was compared.
async fn finish(what: &str, world: &World, walked: Walked) {
    let Walked { things, checks, wrong } = walked;
    assert!(wrong.is_empty(), "{} of {checks} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    world.book.compare(world).await;
    let (callers, transports) = (world.callers.len(), Transport::ALL.len());
    let figures = json!({
        what: things, "callers": callers, "transports": transports, "checks": checks,
        "writes": world.book.count(),
    });
    println!("fleet-roles: {figures}");
}

#[tokio::test]
async fn every_method_lets_in_whom_its_row_names_and_every_write_is_in_the_audit_log() {
    let Some(world) = World::open(&[]).await else { return };
    let walked = methods::walk(&world).await;
    finish("methods", &world, walked).await;
}

#[tokio::test]
async fn every_type_is_read_and_written_by_whom_its_row_names_and_every_write_is_in_the_audit_log() {
    let Some(world) = World::open(&[]).await else { return };
    let walked = types::walk(&world).await;
    finish("types", &world, walked).await;
}

#[tokio::test]
async fn no_method_of_a_machine_is_reached_without_a_role_and_the_manager_has_none() {
    let Some(world) = World::open(&[]).await else { return };
    let walked = methods::walk_machines(&world).await;
    finish("methods of machines", &world, walked).await;
}
