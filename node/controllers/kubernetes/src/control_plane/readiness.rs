//! What a service waits for before its first start.

use corten_resource::Resource;
use corten_resources::service::{Service, ServiceSpec};
use corten_resources::time::TimeStatus;

/// Reasons to wait. None once the service was allowed to start: what comes after that is the health check's business, and a new machined must
/// not stop what the one before it started.
#[must_use]
pub fn reasons(
    current: Option<&Resource<ServiceSpec>>,
    cri: Option<&Resource<Service>>,
    time: Option<&Resource<TimeStatus>>,
) -> Vec<String> {
    if current.is_some_and(|spec| spec.waiting_for.is_empty()) {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    if !cri.is_some_and(|cri| cri.healthy) {
        reasons.push("service \"cri\" to be \"up\"".to_owned());
    }
    if time.is_some_and(|time| !time.synced) {
        reasons.push("time sync".to_owned());
    }
    reasons
}
