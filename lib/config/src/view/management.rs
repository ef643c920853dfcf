//! How the machine reaches its manager, and what it sends there.

use corten_base::Secret;

use super::Documents;

/// The documents about the machine's manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Management {
    /// The join URL; empty when there is none. It holds the join token.
    pub join_url: Secret<String>,
    /// What the manager gave the machine to be known by; empty when there is none.
    pub unique_token: Secret<String>,
    /// Host and port to which events are sent; empty when nobody wants them.
    pub event_sink: String,
    /// URLs to which the kernel log is sent.
    pub kernel_logs: Vec<String>,
}

impl Management {
    pub(super) fn read(documents: &Documents<'_>) -> Self {
        let link = documents.one("SideroLinkConfig");
        let logs = documents.all("KmsgLogConfig");
        Self {
            join_url: link.get("apiUrl").secret(),
            unique_token: link.get("uniqueToken").secret(),
            event_sink: documents.one("EventSinkConfig").get("endpoint").string(),
            kernel_logs: logs.filter_map(|(_, log)| log.get("url").text().map(str::to_owned)).collect(),
        }
    }
}
