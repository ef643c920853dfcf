//! Sets the machine's name in the kernel and tells what the kernel has.
//!
//! ```text
//! HostnameSpec@network ──▶ kernel ──▶ HostnameStatus   (what the kernel says, also after a restart of ours)
//! ```

use corten_resource::{Driver, Plan, View, controller};
use corten_resources::network::{HostnameSpec, HostnameStatus};

/// What the kernel says when nobody ever set a name.
const UNSET: &str = "(none)";

/// The two names that the kernel keeps for a UTS namespace; empty when unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Short name.
    pub hostname: String,
    /// Domain without leading dot.
    pub domainname: String,
}

/// What may be done to the names of the machine. Implemented for the real kernel and by a recording fake.
pub trait Uts: Send + Sync {
    /// The names now.
    fn get(&self) -> Names;
    /// Sets both names.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn set(&self, names: &Names) -> anyhow::Result<()>;
}

/// The real kernel, in this process's UTS namespace.
#[derive(Debug)]
pub struct KernelUts;

impl Uts for KernelUts {
    fn get(&self) -> Names {
        let uname = rustix::system::uname();
        let text = |name: &std::ffi::CStr| match name.to_string_lossy() {
            name if name == UNSET => String::new(),
            name => name.into_owned(),
        };
        Names { hostname: text(uname.nodename()), domainname: text(uname.domainname()) }
    }

    fn set(&self, names: &Names) -> anyhow::Result<()> {
        corten_sys::sysctl::set_hostname(&names.hostname)?;
        corten_sys::sysctl::set_domainname(&names.domainname)?;
        Ok(())
    }
}

/// Sets the hostname.
#[derive(Debug)]
pub struct HostnameApply<U> {
    uts: U,
}

controller!(impl<U: Uts + 'static> HostnameApply<U>, "network.HostnameApply",
    inputs: [strong HostnameSpec],
    outputs: [exclusive HostnameStatus]);

impl<U> HostnameApply<U> {
    /// A controller over `uts`.
    pub const fn new(uts: U) -> Self {
        Self { uts }
    }
}

/// Set both names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetNames(Names);

impl<U: Uts + 'static> Driver for HostnameApply<U> {
    type Observed = Names;
    type Op = SetNames;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Names> {
        Ok(self.uts.get())
    }

    fn plan(&self, view: &View<Self>, observed: &Names) -> Plan<Self, SetNames> {
        let mut plan = Plan::new();
        let Some(spec) = view.get::<HostnameSpec>(HostnameSpec::ID) else {
            return plan.waiting("a hostname from configuration, platform or DHCP");
        };
        let wanted = Names { hostname: spec.hostname.clone(), domainname: spec.domainname.clone() };
        if *observed != wanted {
            plan.op(SetNames(wanted));
        }
        let Names { hostname, domainname } = observed.clone();
        plan.put(HostnameStatus::ID, HostnameStatus { hostname, domainname });
        plan
    }

    async fn apply(&mut self, SetNames(names): SetNames) -> anyhow::Result<()> {
        self.uts.set(&names)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::{check, resource};
    use corten_resource::{Outcome, Registry};
    use corten_resources::network::Layer;
    use parking_lot::Mutex;

    use super::*;

    /// A kernel with names, and every change that was made to them.
    #[derive(Clone, Debug, Default)]
    struct FakeUts(Arc<Mutex<(Names, Vec<Names>)>>);

    impl Uts for FakeUts {
        fn get(&self) -> Names {
            self.0.lock().0.clone()
        }
        fn set(&self, names: &Names) -> anyhow::Result<()> {
            let mut kernel = self.0.lock();
            kernel.0 = names.clone();
            kernel.1.push(names.clone());
            Ok(())
        }
    }

    fn names(hostname: &str, domainname: &str) -> Names {
        Names { hostname: hostname.into(), domainname: domainname.into() }
    }

    fn spec() -> HostnameSpec {
        HostnameSpec {
            hostname: "node-1".into(),
            domainname: "example.org".into(),
            layer: Layer::Configuration,
        }
    }

    fn plan(spec: Option<HostnameSpec>, observed: &Names) -> Plan<HostnameApply<FakeUts>, SetNames> {
        let resources = spec.map(|spec| resource(HostnameSpec::ID, spec));
        HostnameApply::new(FakeUts::default()).plan(&View::of(resources, UNIX_EPOCH), observed)
    }

    #[test]
    fn without_a_wish_nothing_is_set_and_nothing_is_told() {
        let plan = plan(None, &names("localhost", ""));
        assert!(matches!(plan.outcome(), Outcome::Waiting(_)));
        assert!(plan.ops().is_empty() && plan.outputs::<HostnameStatus>().is_empty());
    }

    #[test]
    fn both_names_are_compared_with_the_kernel_and_the_status_is_what_it_has() {
        let wanted = names("node-1", "example.org");
        for other in [names("node-2", "example.org"), names("node-1", ""), names("", "")] {
            let plan = plan(Some(spec()), &other);
            assert_eq!(plan.ops(), [SetNames(wanted.clone())], "{other:?}");
            let status = plan.output::<HostnameStatus>(HostnameStatus::ID).expect("a status");
            assert_eq!(names(&status.hostname, &status.domainname), other);
        }
        assert!(plan(Some(spec()), &wanted).ops().is_empty());
    }

    #[test]
    fn names_are_set_once_and_again_by_no_later_life() {
        let uts = FakeUts::default();
        for _ in 0..2 {
            let mut registry = Registry::new();
            registry.namespace("network", "").register::<HostnameSpec>().register::<HostnameStatus>();
            let uts = uts.clone();
            let status = HostnameStatus { hostname: "node-1".into(), domainname: "example.org".into() };
            check(
                registry,
                |runtime| {
                    runtime.register(HostnameApply::new(uts));
                },
                &[resource(HostnameSpec::ID, spec())],
                &[resource(HostnameStatus::ID, status)],
            );
        }
        assert_eq!(uts.0.lock().1, [names("node-1", "example.org")]);
    }
}
