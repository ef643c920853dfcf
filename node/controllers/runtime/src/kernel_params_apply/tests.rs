//! Parameters of a kernel that lives in a map.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use corten_resource::testing::{TestRuntime, state};
use corten_resource::{ControllerState, ControllerStatus, Declared, State};
use corten_resources::runtime::{KernelParamDefaultSpec, KernelParamSpec, KernelParamStatus};
use corten_sys::sysctl::{Sysctls, Sysfs};

use super::*;

const FORWARD: &str = "proc.sys.net.ipv4.ip_forward";
const GOVERNOR: &str = "sys.devices.system.cpu.cpu0.cpufreq.scaling_governor";
const OWNER: &str = "runtime.KernelParam";
const CONTROLLER: &str = KernelParamsApply::<Fake>::NAME;

/// What was written, in order, and what is there.
type Written = (Vec<String>, BTreeMap<String, String>);

/// Writes one by one, and values by name; a value with a `!` in front takes no other.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Written>>);

impl Fake {
    fn with(values: &[(&str, &str)]) -> Self {
        let fake = Self::default();
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        fake.0.lock().expect("lock").1 = values.collect();
        fake
    }

    fn value(&self, name: &str) -> String {
        self.0.lock().expect("lock").1.get(name).cloned().unwrap_or_default()
    }

    fn appear(&self, name: &str, value: &str) {
        self.0.lock().expect("lock").1.insert(name.to_owned(), value.to_owned());
    }

    fn writes(&self) -> Vec<String> {
        self.0.lock().expect("lock").0.clone()
    }

    fn error(kind: ErrorKind) -> corten_sys::Error {
        corten_sys::Error::new("set the kernel parameter", "x", kind)
    }
}

impl Sysctls for Fake {
    fn read(&self, name: &str) -> corten_sys::Result<String> {
        let all = self.0.lock().expect("lock");
        all.1.get(name).cloned().ok_or_else(|| Self::error(ErrorKind::NotFound))
    }

    fn write(&self, name: &str, value: &str) -> corten_sys::Result<()> {
        let mut all = self.0.lock().expect("lock");
        all.0.push(format!("{name}={value}"));
        let place = all.1.get_mut(name).ok_or_else(|| Self::error(ErrorKind::NotFound))?;
        if place.starts_with('!') {
            return Err(Self::error(ErrorKind::InvalidInput));
        }
        value.clone_into(place);
        Ok(())
    }
}

impl Sysfs for Fake {
    fn read_attribute(&self, name: &str) -> corten_sys::Result<String> {
        self.read(&format!("/{name}"))
    }

    fn write_attribute(&self, name: &str, value: &str) -> corten_sys::Result<()> {
        self.write(&format!("/{name}"), value)
    }
}

fn want(state: &State, id: &str, value: &str) {
    let spec = KernelParamSpec { value: value.to_owned(), ignore_errors: false };
    state.put(OWNER, id, spec).expect("wanted");
}

fn start(state: State, kernel: &Fake) -> TestRuntime {
    let kernel = kernel.clone();
    TestRuntime::with_state(state, |runtime| {
        runtime.register(KernelParamsApply::new(kernel));
    })
}

fn fresh() -> State {
    state(corten_resources::registry())
}

fn shown(runtime: &TestRuntime, id: &str) -> KernelParamStatus {
    runtime.state().get::<KernelParamStatus>(id).expect("a status").spec
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_any_more_gets_its_own_value_back() {
    let kernel = Fake::with(&[
        ("net.ipv4.ip_forward", "0"),
        ("/devices.system.cpu.cpu0.cpufreq.scaling_governor", "slow"),
    ]);
    let runtime = start(fresh(), &kernel);
    want(runtime.state(), FORWARD, "1");
    want(runtime.state(), GOVERNOR, "fast");
    runtime.quiet().await;
    let status = KernelParamStatus { current: "1".into(), default: "0".into(), unsupported: false };
    assert_eq!(shown(&runtime, FORWARD), status);
    assert_eq!(kernel.value("/devices.system.cpu.cpu0.cpufreq.scaling_governor"), "fast");
    runtime.state().remove::<KernelParamSpec>(OWNER, FORWARD).expect("removed");
    runtime.quiet().await;
    assert_eq!(kernel.value("net.ipv4.ip_forward"), "0");
    assert!(runtime.state().get::<KernelParamStatus>(FORWARD).is_none());
    runtime.state().remove::<KernelParamSpec>(OWNER, FORWARD).expect("removed");
    assert!(runtime.state().get::<KernelParamSpec>(FORWARD).is_none(), "nobody holds it");
    want(runtime.state(), FORWARD, "1");
    runtime.quiet().await;
    assert_eq!(shown(&runtime, FORWARD), status);
}

#[tokio::test(start_paused = true)]
async fn the_next_machined_knows_what_was_there_before_the_first() {
    let kernel = Fake::with(&[("net.ipv4.ip_forward", "1")]);
    let state = fresh();
    want(&state, FORWARD, "1");
    let status = KernelParamStatus { current: "1".into(), default: "0".into(), unsupported: false };
    state.put(CONTROLLER, FORWARD, status.clone()).expect("the status of an earlier machined");
    let runtime = start(state, &kernel);
    runtime.quiet().await;
    assert_eq!(shown(&runtime, FORWARD), status);
    assert_eq!(kernel.writes(), [""; 0]);
    runtime.state().remove::<KernelParamSpec>(OWNER, FORWARD).expect("removed");
    runtime.quiet().await;
    assert_eq!(kernel.value("net.ipv4.ip_forward"), "0");
}

#[tokio::test(start_paused = true)]
async fn where_the_configuration_ends_our_default_takes_its_place() {
    let kernel = Fake::with(&[("net.ipv4.ip_forward", "0")]);
    let runtime = start(fresh(), &kernel);
    let default = KernelParamDefaultSpec { value: "1".to_owned(), ignore_errors: true };
    runtime.state().put(OWNER, FORWARD, default).expect("our default");
    want(runtime.state(), FORWARD, "2");
    runtime.quiet().await;
    runtime.state().remove::<KernelParamSpec>(OWNER, FORWARD).expect("removed");
    runtime.quiet().await;
    assert_eq!(kernel.writes(), ["net.ipv4.ip_forward=2", "net.ipv4.ip_forward=1"]);
    assert_eq!(shown(&runtime, FORWARD).default, "0");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_the_kernel_does_not_take_back_is_told_and_left() {
    let kernel = Fake::with(&[("net.ipv4.ip_forward", "0")]);
    let runtime = start(fresh(), &kernel);
    want(runtime.state(), FORWARD, "!1");
    runtime.quiet().await;
    runtime.state().remove::<KernelParamSpec>(OWNER, FORWARD).expect("removed");
    let told = "cannot set proc.sys.net.ipv4.ip_forward to \"0\"";
    let is_told =
        |status: Option<&ControllerStatus>| status.is_some_and(|status| status.reason.contains(told));
    runtime.state().wait_for::<ControllerStatus>(CONTROLLER, is_told).await;
    runtime.advance(LOOK_AGAIN).await;
    assert_eq!(kernel.writes(), ["net.ipv4.ip_forward=!1", "net.ipv4.ip_forward=0"]);
    assert!(runtime.state().get::<KernelParamStatus>(FORWARD).is_none());
    assert_eq!(runtime.status(CONTROLLER).map(|status| status.state), Some(ControllerState::Running));
}

#[tokio::test(start_paused = true)]
async fn a_parameter_that_comes_with_its_module_is_set_then() {
    let kernel = Fake::default();
    let runtime = start(fresh(), &kernel);
    want(runtime.state(), FORWARD, "1");
    runtime.quiet().await;
    assert!(shown(&runtime, FORWARD).unsupported);
    kernel.appear("net.ipv4.ip_forward", "0");
    runtime.advance(LOOK_AGAIN).await;
    let status = KernelParamStatus { current: "1".into(), default: "0".into(), unsupported: false };
    assert_eq!(shown(&runtime, FORWARD), status);
}

#[test]
fn blanks_do_not_make_a_difference() {
    assert_eq!(normal("4096\t87380  6291456\n"), "4096 87380 6291456");
}

#[test]
fn a_name_that_leaves_its_folder_is_none() {
    for id in
        ["proc.sys.net/../../../system/state/x", "sys.block/../../system/state/x", "sys./system/state/x"]
    {
        let error = get(&corten_sys::Kernel, id).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{id}");
        let error = set(&corten_sys::Kernel, id, "x").expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{id}");
    }
}
