//! Resolvers and time servers in effect: nothing is applied, the winners are published.

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::network::{
    HostnameStatus, ResolverSpec, ResolverStatus, TimeServerSpec, TimeServerStatus,
};

/// Publishes resolvers.
#[derive(Debug)]
pub struct ResolverPublish;

controller!(ResolverPublish, "network.ResolverPublish",
    inputs: [strong ResolverSpec, weak HostnameStatus],
    outputs: [exclusive ResolverStatus]);

impl Transform for ResolverPublish {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(spec) = view.get::<ResolverSpec>(ResolverSpec::ID).map(|row| &row.spec) else {
            return plan.waiting("name servers");
        };
        let mut search_domains = spec.search_domains.clone();
        let own = view.get::<HostnameStatus>(HostnameStatus::ID).map(|row| &row.spec.domainname);
        if let Some(domain) = own.filter(|domain| !domain.is_empty() && !spec.search_domains_overridden)
            && !search_domains.contains(domain)
        {
            search_domains.push(domain.clone());
        }
        let (dns_servers, name_servers) = (spec.dns_servers.clone(), spec.name_servers.clone());
        plan.put::<ResolverStatus>(
            ResolverStatus::ID,
            ResolverStatus { dns_servers, name_servers, search_domains },
        );
        plan
    }
}

/// Publishes time servers.
#[derive(Debug)]
pub struct TimeServerPublish;

controller!(TimeServerPublish, "network.TimeServerPublish",
    inputs: [strong TimeServerSpec],
    outputs: [exclusive TimeServerStatus]);

impl Transform for TimeServerPublish {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        if let Some(spec) = view.get::<TimeServerSpec>(TimeServerSpec::ID).map(|row| &row.spec) {
            let status = TimeServerStatus { time_servers: spec.time_servers.clone(), use_nts: spec.use_nts };
            plan.put::<TimeServerStatus>(TimeServerStatus::ID, status);
        }
        plan
    }
}
