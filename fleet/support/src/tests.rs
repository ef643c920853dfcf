//! A whole bundle, over ways that lead nowhere: what is left is what the manager itself knows.

use std::time::Duration;

use bytes::Bytes;
use corten_client::Client;
use corten_fleet_api::management::LogLines;
use corten_fleet_controllers_machine::calls::CallError;
use corten_fleet_resources::cluster::{Cluster, ClusterMachine};
use corten_fleet_resources::labels;
use corten_fleet_resources::link::JoinToken;
use corten_fleet_resources::machine::MachineStatus;
use corten_resource::testing::{resource, state};
use futures::StreamExt as _;
use futures::future::BoxFuture;

use super::*;

const TOKEN: &str = "a-join-token-of-this-test";

/// Nobody is there, or nobody ever answers.
struct Nowhere {
    answers: bool,
}

impl Reach for Nowhere {
    fn machine<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Client, CallError>> {
        if self.answers {
            Box::pin(std::future::ready(Err(CallError::Away)))
        } else {
            Box::pin(std::future::pending())
        }
    }

    fn kubernetes(&self, _: &str) -> Option<corten_kubernetes::Client> {
        None
    }
}

/// A log of one line, with a secret in it.
struct OneLine;

impl MachineLogs for OneLine {
    fn read<'a>(&'a self, machine: &'a str, _: Option<usize>, _: bool) -> Answering<'a, LogLines> {
        let line = Bytes::from(format!("{machine} called with {TOKEN} and came in"));
        let lines: LogLines = Box::pin(stream::iter([Ok(line)]));
        Box::pin(std::future::ready(Ok(lines)))
    }
}

fn support(answers: bool) -> Support {
    let state = state(corten_fleet_resources::registry());
    state.put("", "prod", Cluster::default()).expect("stored");
    state.put("", TOKEN, JoinToken::default()).expect("stored");
    let member = resource("m-1", ClusterMachine::default()).edit(|metadata| {
        metadata.labels.insert(labels::CLUSTER.to_owned(), "prod".to_owned());
    });
    state.put_any("", member).expect("stored");
    let kernel_cmdline = format!("siderolink.api=grpc://fleet?jointoken={TOKEN} quiet");
    state.put("", "m-1", MachineStatus { kernel_cmdline, ..MachineStatus::default() }).expect("stored");
    let clock = state.store().clock().clone();
    Support::new(state, Arc::new(OneLine), Arc::new(Nowhere { answers }), clock)
}

/// The files of the bundle, and what was told before it.
async fn collected(support: &Support) -> (Vec<(String, Vec<u8>)>, Vec<(String, String)>) {
    let mut messages = support.collect("prod").await.expect("begun");
    let mut told = Vec::new();
    while let Some(message) = messages.next().await {
        let message = message.expect("a message");
        if !message.bundle_data.is_empty() {
            assert!(messages.next().await.is_none(), "the bundle is the last message");
            let files = corten_bundle::unpack(&message.bundle_data, 1 << 30).expect("an archive");
            let files = files.iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
            return (files.collect(), told);
        }
        let progress = message.progress.expect("older clients hang after a message without anything");
        told.push((progress.source, progress.error));
    }
    panic!("there was no bundle");
}

#[tokio::test]
async fn a_machine_that_is_away_costs_a_line_and_no_secret_gets_out() {
    let support = support(true);
    let (files, told) = collected(&support).await;
    let file = |name: &str| {
        let found = files.iter().find(|(known, _)| known == name);
        let (_, bytes) = found.unwrap_or_else(|| panic!("{name} is missing"));
        String::from_utf8_lossy(bytes).into_owned()
    };
    assert_eq!(file("machines/m-1/log.txt"), "m-1 called with REDACTED and came in\n");
    assert!(file("fleet/MachineStatuses.omni.sidero.dev.yaml").contains("jointoken=REDACTED quiet"));
    assert!(file("fleet/Clusters.omni.sidero.dev.yaml").contains("id: prod"));
    let manifest = file("manifest.yaml");
    assert!(manifest.contains("the machine is away") && manifest.contains("Kubernetes"), "{manifest}");
    let known = secrets::known(&support.state);
    for (name, bytes) in &files {
        assert_eq!(known.find(bytes), None, "{name}");
    }
    let errors: Vec<&str> =
        told.iter().filter(|(_, error)| !error.is_empty()).map(|(source, _)| source.as_str()).collect();
    assert!(errors.contains(&"m-1") && errors.contains(&"Kubernetes"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_never_answers_ends_with_the_time() {
    let started = tokio::time::Instant::now();
    let (files, _) = collected(&support(false)).await;
    assert!(files.iter().any(|(name, _)| name == "machines/m-1/log.txt"));
    assert!(started.elapsed() < Duration::from_secs(300), "{:?}", started.elapsed());
}

#[tokio::test]
async fn bundles_are_collected_a_few_at_a_time_and_end_with_their_clients() {
    let support = support(false);
    let first = support.collect("prod").await.expect("the first");
    let second = support.collect("prod").await.expect("the second");
    let third = support.collect("prod").await.err().expect("one too many");
    assert_eq!(third.code(), tonic::Code::ResourceExhausted);
    drop((first, second));
    while support.collect("prod").await.is_err() {
        tokio::task::yield_now().await;
    }
}
