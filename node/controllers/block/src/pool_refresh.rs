//! Has arrays and volumes of LVM looked at again when something happens to block devices.
//!
//!     block device events ──▶ MdRefreshRequest, LvmRefreshRequest

use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::storage::{LvmRefreshRequest, MdRefreshRequest};

use crate::uevent;

/// Counts what happens to block devices.
pub struct PoolRefresh {
    count: i64,
}

controller!(PoolRefresh, "storage.PoolRefresh",
    inputs: [],
    outputs: [exclusive MdRefreshRequest, exclusive LvmRefreshRequest]);

impl PoolRefresh {
    /// Nothing has happened yet.
    pub const fn new() -> Self {
        Self { count: 0 }
    }
}

impl Driver for PoolRefresh {
    type Observed = i64;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<i64> {
        self.count += 1;
        Ok(self.count)
    }

    fn plan(&self, _: &View<Self>, count: &i64) -> Plan<Self> {
        let mut plan = Plan::new();
        plan.put(MdRefreshRequest::ID, MdRefreshRequest { request: *count });
        plan.put(LvmRefreshRequest::ID, LvmRefreshRequest { request: *count });
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![uevent::events()]
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn both_are_asked_at_once() {
        let plan = PoolRefresh::new().plan(&View::of([], UNIX_EPOCH), &7);
        assert_eq!(plan.output::<MdRefreshRequest>("refresh"), Some(&MdRefreshRequest { request: 7 }));
        assert_eq!(plan.output::<LvmRefreshRequest>("refresh"), Some(&LvmRefreshRequest { request: 7 }));
    }
}
