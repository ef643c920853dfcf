//! What containers use, from either generation of cgroups.

use crate::client::Namespace;
use crate::error::Error;
use crate::stream::unpack;
use crate::wire::containerd::services::tasks::v1::{MetricsRequest, tasks_client::TasksClient};
use crate::wire::io::containerd::cgroups::{v1, v2};

/// Usage of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Container.
    pub id: String,
    /// Processor time since it started, in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory in bytes, without the page cache that can be dropped at once.
    pub memory: u64,
    /// Processes.
    pub pids: u64,
}

impl Namespace {
    /// Usage of all running containers.
    ///
    /// # Errors
    /// When containerd fails or is away.
    pub async fn usage(&self) -> Result<Vec<Usage>, Error> {
        let request = self.request(MetricsRequest::default());
        let answer = TasksClient::new(self.channel.clone())
            .max_decoding_message_size(crate::client::MESSAGE)
            .metrics(request)
            .await
            .map_err(Error::call("measure containers of", self.name()))?;
        let metrics = answer.into_inner().metrics;
        Ok(metrics.into_iter().filter_map(|it| it.data.and_then(|data| usage(it.id, &data))).collect())
    }
}

fn usage(id: String, data: &prost_types::Any) -> Option<Usage> {
    if let Some(it) = unpack::<v2::Metrics>(data) {
        let memory = it.memory.unwrap_or_default();
        return Some(Usage {
            id,
            cpu_nanos: it.cpu.unwrap_or_default().usage_usec.saturating_mul(1000),
            memory: memory.usage.saturating_sub(memory.inactive_file),
            pids: it.pids.unwrap_or_default().current,
        });
    }
    let it = unpack::<v1::Metrics>(data)?;
    let memory = it.memory.unwrap_or_default();
    Some(Usage {
        id,
        cpu_nanos: it.cpu.unwrap_or_default().usage.unwrap_or_default().total,
        memory: memory.usage.unwrap_or_default().usage.saturating_sub(memory.total_inactive_file),
        pids: it.pids.unwrap_or_default().current,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::pack;

    #[test]
    fn both_generations_give_the_same_figures() {
        let old = pack(&v1::Metrics {
            pids: Some(v1::PidsStat { current: 3, limit: 0 }),
            cpu: Some(v1::CpuStat { usage: Some(v1::CpuUsage { total: 5000 }) }),
            memory: Some(v1::MemoryStat {
                total_inactive_file: 10,
                usage: Some(v1::MemoryEntry { limit: 0, usage: 110 }),
            }),
        });
        let new = pack(&v2::Metrics {
            pids: Some(v2::PidsStat { current: 3, limit: 0 }),
            cpu: Some(v2::CpuStat { usage_usec: 5 }),
            memory: Some(v2::MemoryStat { inactive_file: 10, usage: 110, usage_limit: 0 }),
        });
        let expected = Usage { id: "a".into(), cpu_nanos: 5000, memory: 100, pids: 3 };
        assert_eq!(usage("a".into(), &old), Some(expected.clone()));
        assert_eq!(usage("a".into(), &new), Some(expected));
        assert_eq!(usage("a".into(), &prost_types::Any::default()), None);
    }
}
