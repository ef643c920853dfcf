//! What the tests of diagnoses share: facts from resources, and which diagnoses they make.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_resource::AnyResource;
use corten_resource::testing::resource;
use corten_resources::config::{MachineType, Role};
use corten_resources::runtime::{MachineStage, MachineStatus};

use crate::vitals::{ServiceFact, Vitals};
use crate::{Facts, Finding, diagnose};

/// When machines of tests are asked.
pub(crate) fn asked() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Facts of these resources.
pub(crate) fn facts(resources: impl IntoIterator<Item = AnyResource>) -> Facts {
    let mut facts = Facts::new(Vitals { asked: Some(asked()), ..Vitals::default() });
    for resource in resources {
        let kind = resource.metadata().kind.clone();
        facts.read(&kind, [resource]);
    }
    facts
}

/// Facts with these vitals.
pub(crate) fn vitals(vitals: Vitals) -> Facts {
    Facts::new(Vitals { asked: Some(asked()), ..vitals })
}

/// Facts with the end of a log.
pub(crate) fn log(name: &str, text: &str) -> Facts {
    let mut facts = Facts::default();
    facts.log(name, text);
    facts
}

/// A machine that runs.
pub(crate) fn running() -> AnyResource {
    resource("machine", MachineStatus { stage: MachineStage::Running, ..MachineStatus::default() })
}

/// Its role.
pub(crate) fn role(role: Role) -> AnyResource {
    resource(MachineType::ID, MachineType { role })
}

/// A service that said something.
pub(crate) fn service(id: &str, state: &str, message: &str) -> ServiceFact {
    let (id, state, message) = (id.to_owned(), state.to_owned(), message.to_owned());
    ServiceFact { id, state, message, ..ServiceFact::default() }
}

/// Ids of what is found.
pub(crate) fn ids(facts: &Facts) -> Vec<&'static str> {
    diagnose(facts).iter().map(|finding| finding.diagnosis.id).collect()
}

/// What is found of one diagnosis.
pub(crate) fn find(facts: &Facts, id: &str) -> Option<Finding> {
    diagnose(facts).into_iter().find(|finding| finding.diagnosis.id == id)
}

/// The only sentence of one diagnosis.
#[track_caller]
pub(crate) fn check(facts: &Facts, id: &str, what: &str) {
    let found = find(facts, id).unwrap_or_else(|| panic!("{id} is not among {:?}", ids(facts)));
    let whats: Vec<&str> = found.evidence.iter().map(|evidence| evidence.what.as_str()).collect();
    assert_eq!(whats, [what], "{id}");
}

/// A diagnosis is not made.
#[track_caller]
pub(crate) fn check_absent(facts: &Facts, id: &str) {
    let found = find(facts, id);
    assert!(found.is_none(), "{found:?}");
}
