//! The manager as its users drive it: unmodified omnictl with a service account and an authority of our own, then what
//! it hands out to unmodified talosctl and kubectl. With `--client corten` the same is told by `corten fleet`.
//!
//! People do not log in yet: that is absent, and so are commands that need it.

mod bundle;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_harness::Emulator;
use serde_json::json;

use crate::cluster::ALLOW_PODS_ON_CONTROL_PLANES;
use crate::cx::{Client, Cx, say};
use crate::fleet::hosted::{Hosted, HostedFiles};
use crate::fleet::members::Members;
use crate::fleet::template::Template;
use crate::fleet::{ASK_MAX, Manager, Security, documents, kind};
use crate::machine::Mode;
use crate::tool::Tool;
use bundle::Bundle;

/// How long a machine that boots may take until the manager knows what it is made of.
const JOIN_MAX: Duration = Duration::from_secs(120);
/// How long a cluster may take to go, with the reset of its machine.
const GONE_MAX: Duration = Duration::from_secs(300);
/// Name of the cluster.
const CLUSTER: &str = "e2e";
/// Emulated machines beside the real one.
const EMULATED: u32 = 3;

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let lab = cx.shared_lab();
    let client = cx.fleet_client()?;
    let manager = Manager::start(cx.manager(Some(lab.clone()))?, &client, Security::Tls)?;
    let arguments = manager.kernel_arguments()?;
    cx.figure("client", client.name());
    cx.figure("absent", json!(["interactive login of people"]));

    strangers(cx, &manager);
    let watched = watch(cx, &manager)?;
    let mut spec = cx.emulator("emulated", &arguments)?;
    (spec.lab, spec.machines) = (Some(lab), EMULATED);
    let emulator = Emulator::start(&spec)?;
    let members = Members::join(&manager, &[cx.member(0, &arguments)?], JOIN_MAX)?;
    machines(cx, &manager, &emulator, &members, watched);
    join_tokens(cx, &manager);
    service_accounts(cx, &manager);
    long_texts(cx, &manager);

    let template = Template {
        name: CLUSTER.to_owned(),
        talos_version: members.version.clone(),
        kubernetes_version: corten_config::defaults::KUBERNETES_VERSION.to_owned(),
        control_planes: members.uuids.clone(),
        workers: Vec::new(),
        patches: vec![ALLOW_PODS_ON_CONTROL_PLANES.to_owned()],
    };
    templates(cx, &manager, &template)?;
    let evidence = || members.evidence();
    let hosted = Hosted {
        manager: &manager,
        files: HostedFiles::write(&template, cx.folder())?,
        template,
        kubectl: cx.kubectl()?.env("HOME", cx.folder()),
        started: Instant::now(),
        pace: cx.mode().pace(),
        progress: &say,
        evidence: &evidence,
    };
    cluster(cx, &hosted)?;
    kubernetes(cx, &hosted);
    let talosctl = cx.talosctl()?.env("HOME", cx.folder());
    machine_api(cx, &hosted, &talosctl);
    diagnosis(cx, &hosted, &emulator);
    export_and_delete(cx, &hosted);
    drop(hosted);
    members.cut_power()
}

/// Texts that omnictl sends compressed with its dictionary, because they have more than 2048 bytes.
fn long_texts(cx: &mut Cx, manager: &Manager) {
    let file = cx.folder().join("long-patch.yaml");
    cx.case("a patch of many lines is kept as it was written, and goes", || {
        let lines: String = (0..200).map(|it| format!("    E2E_{it}: value of number {it}\n")).collect();
        let resource = json!({
            "metadata": { "namespace": "default", "type": kind::CONFIG_PATCH, "id": "e2e-long" },
            "spec": { "data": format!("machine:\n  env:\n{lines}") },
        });
        std::fs::write(&file, resource.to_string()).context("cannot write the patch")?;
        manager.run(&["apply", "-f", &file.to_string_lossy()])?;
        let kept = manager.list(kind::CONFIG_PATCH)?;
        let kept = kept.iter().find(|it| it["metadata"]["id"] == "e2e-long").context("it is not there")?;
        ensure!(kept["spec"]["data"] == resource["spec"]["data"], "it reads otherwise: {kept}");
        manager.run(&["delete", kind::CONFIG_PATCH, "e2e-long"])?;
        ensure!(!manager.run(&["get", kind::CONFIG_PATCH])?.contains("e2e-long"), "it is still there");
        Ok(())
    });
}

/// Who has no key, or does not know the authority, is told so.
fn strangers(cx: &mut Cx, manager: &Manager) {
    cx.case("a client without a key is told that it needs one", || {
        let said = manager.client_of_nobody().refuse(&["get", "machines"])?;
        ensure!(!said.contains("panic"), "{said}");
        Ok(())
    });
    let authority = cx.folder().join("no-authority");
    cx.case("a client that does not know the authority does not talk to the manager", || {
        std::fs::write(&authority, "").context("cannot write an empty list of authorities")?;
        let said = manager.client().env("SSL_CERT_FILE", &authority).refuse(&["get", "machines"])?;
        ensure!(said.contains("certificate") || said.contains("authorit"), "{said}");
        Ok(())
    });
}

/// A watch that begins before there is a machine.
fn watch(cx: &Cx, manager: &Manager) -> Result<crate::tool::Follower> {
    manager.client().follow(&["get", kind::MACHINE_STATUS, "--watch"], &cx.folder().join("watch.txt"))
}

fn machines(
    cx: &mut Cx,
    manager: &Manager,
    emulator: &Emulator,
    members: &Members,
    mut watched: crate::tool::Follower,
) {
    let all = usize::try_from(EMULATED).unwrap_or_default() + members.uuids.len();
    cx.case("all machines are listed, in every form", || {
        manager.until("all machines", JOIN_MAX, || {
            let listed = manager.list(kind::MACHINE)?.len();
            ensure!(listed == all, "{listed} machines of {all} are there");
            Ok(())
        })?;
        let own = &members.uuids[0];
        for form in ["table", "yaml", "json"] {
            let text = manager.run(&["get", "machines", "-o", form])?;
            ensure!(text.contains(own.as_str()), "{own} is not there:\n{text}");
        }
        let path = "jsonpath={.spec.connected}";
        let connected = manager.run(&["get", kind::MACHINE_STATUS, own, "-o", path])?;
        ensure!(connected.trim() == "true", "connected is `{}`", connected.trim());
        Ok(())
    });
    cx.case("some machines are found by their labels and by their ids", || {
        let selector = "omni.sidero.dev/connected";
        manager.until("all machines to be labelled", JOIN_MAX, || {
            let found = manager.run(&["get", kind::MACHINE_STATUS, "-l", selector, "-o", "json"])?;
            let count = documents(&found)?.len();
            ensure!(count == all, "{count} of {all} machines have the label");
            Ok(())
        })?;
        let uuid = emulator.uuid(0)?;
        let pattern = format!("^{uuid}$");
        let found = manager.run(&["get", "machines", "--id-match-regexp", &pattern, "-o", "json"])?;
        ensure!(documents(&found)?.len() == 1, "{found}");
        Ok(())
    });
    cx.case("a watch tells every machine as it comes", || {
        manager.until("the machines in the watch", ASK_MAX, || {
            watched.check_alive()?;
            let text = watched.text()?;
            for uuid in &members.uuids {
                ensure!(text.contains(uuid.as_str()), "{uuid} did not come:\n{text}");
            }
            Ok(())
        })?;
        Ok(())
    });
}

fn join_tokens(cx: &mut Cx, manager: &Manager) {
    cx.case("join tokens are made, listed, used, and removed", || {
        let token = manager.run(&["jointoken", "create", "e2e", "--ttl", "24h"])?.trim().to_owned();
        let listed = |word: &str| {
            let list = manager.run(&["jointoken", "list"])?;
            let line = list.lines().find(|line| line.contains(&token)).context("it is not in the list")?;
            ensure!(line.to_lowercase().contains(word), "it is not {word}: {line}");
            Ok(())
        };
        manager.until("the token to be active", ASK_MAX, || listed("active"))?;
        let arguments = manager.run(&["jointoken", "kernel-args", "--token-name", "e2e"])?;
        ensure!(arguments.contains(&token), "the arguments have another token");
        let config = manager.run(&["jointoken", "machine-config", "--token-id", &token])?;
        for document in ["SideroLinkConfig", "EventSinkConfig", "KmsgLogConfig"] {
            ensure!(config.contains(document), "{document} is missing:\n{config}");
        }
        let endpoint = manager.run(&["jointoken", "omni-endpoint", "--token-id", &token])?;
        ensure!(endpoint.contains("jointoken="), "{endpoint}");
        manager.run(&["jointoken", "renew", &token, "--ttl", "48h"])?;
        manager.run(&["jointoken", "revoke", &token])?;
        manager.until("the token to be revoked", ASK_MAX, || listed("revoked"))?;
        manager.run(&["jointoken", "unrevoke", &token])?;
        manager.until("the token to be active again", ASK_MAX, || listed("active"))?;
        manager.run(&["jointoken", "delete", &token])?;
        ensure!(!manager.run(&["jointoken", "list"])?.contains(&token), "it is still listed");
        Ok(())
    });
    cx.case("another token becomes the default one, and the first one again", || {
        let first = manager.token()?;
        let token = manager.run(&["jointoken", "create", "e2e-default"])?.trim().to_owned();
        manager.run(&["jointoken", "make-default", &token])?;
        ensure!(manager.token()? == token, "the default is another");
        let deleted = manager.output(&["jointoken", "delete", &token], ASK_MAX)?;
        deleted.failure().context("the default token was deleted")?;
        manager.run(&["jointoken", "make-default", &first])?;
        manager.run(&["jointoken", "delete", &token]).map(drop)
    });
}

/// The key that a client printed for a program.
fn key_in(printed: &str) -> Result<String> {
    let line = printed.lines().find_map(|line| line.trim().strip_prefix("OMNI_SERVICE_ACCOUNT_KEY="));
    line.map(str::to_owned).with_context(|| format!("no key was printed: {printed}"))
}

fn service_accounts(cx: &mut Cx, manager: &Manager) {
    cx.case("a service account with a role may do what the role may, until it is destroyed", || {
        let role = ["--use-user-role=false", "--role", "Reader"];
        let made = manager.run(&[&["serviceaccount", "create", "e2e-reader"][..], &role].concat())?;
        let reader = manager.client_of(&key_in(&made)?);
        reader.run(&["get", "machines"])?;
        let said = reader.refuse(&["jointoken", "create", "not-mine"])?;
        ensure!(said.contains("PermissionDenied") || said.contains("needs the role"), "{said}");
        let list = manager.run(&["serviceaccount", "list"])?;
        ensure!(list.contains("e2e-reader") && list.contains("Reader"), "{list}");
        let renewed = manager.run(&["serviceaccount", "renew", "e2e-reader"])?;
        let renewed = manager.client_of(&key_in(&renewed)?);
        renewed.run(&["get", "machines"])?;
        manager.run(&["serviceaccount", "destroy", "e2e-reader"])?;
        for (which, client) in [("first", &reader), ("renewed", &renewed)] {
            let refused = client.output(&["get", "machines"], None, ASK_MAX)?.failure();
            refused.with_context(|| format!("the {which} key of an account that is gone"))?;
        }
        Ok(())
    });
}

fn templates(cx: &mut Cx, manager: &Manager, template: &Template) -> Result<()> {
    let file = template.write(cx.folder())?;
    let file = file.to_string_lossy();
    let wrong = cx.folder().join("wrong.yaml");
    std::fs::write(&wrong, template.text().replace("kind: ControlPlane", "kind: ControlPlanes"))?;
    cx.case("a good template is valid, and a wrong one is told", || {
        manager.run(&["cluster", "template", "validate", "--file", &file])?;
        let wrong = wrong.to_string_lossy();
        let said = manager.client().refuse(&["cluster", "template", "validate", "--file", &*wrong])?;
        ensure!(said.contains("ControlPlane"), "{said}");
        Ok(())
    });
    cx.case("a template is rendered, and a sync is shown without being done", || {
        let rendered = manager.run(&["cluster", "template", "render", "--file", &file])?;
        for wanted in [kind::CLUSTER, "MachineSets.omni.sidero.dev", "MachineSetNodes.omni.sidero.dev"] {
            ensure!(rendered.contains(wanted), "{wanted} is missing:\n{rendered}");
        }
        manager.run(&["cluster", "template", "diff", "--file", &file])?;
        manager.run(&["cluster", "template", "sync", "--file", &file, "--dry-run"])?;
        ensure!(manager.get(kind::CLUSTER, CLUSTER).is_err(), "a dry run made a cluster");
        Ok(())
    });
    Ok(())
}

/// The cluster is made.
fn cluster(cx: &mut Cx, hosted: &Hosted<'_>) -> Result<()> {
    hosted.sync()?;
    let file = hosted.files.template.to_string_lossy();
    let wait = hosted.limit(300);
    let status = hosted.manager.output(
        &["cluster", "template", "status", "--file", &file, "--wait", &format!("{}s", wait.as_secs())],
        wait + ASK_MAX,
    )?;
    cx.case("the status of the template waits until the cluster is healthy", || {
        status.success().map(drop).map_err(|error| error.context((hosted.evidence)()))
    });
    let healthy = hosted.wait_healthy()?;
    cx.seconds("healthy_seconds", healthy);
    cx.case("a second sync changes nothing", || {
        let version = |manager: &Manager| {
            let cluster = manager.get(kind::CLUSTER, CLUSTER)?;
            Ok::<_, anyhow::Error>(cluster["metadata"]["version"].clone())
        };
        let before = version(hosted.manager)?;
        hosted.manager.run(&["cluster", "template", "sync", "--file", &file])?;
        let after = version(hosted.manager)?;
        ensure!(before == after, "its version was {before} and is {after}");
        Ok(())
    });
    cx.case("the status of the cluster says the same without waiting", || {
        hosted.manager.run(&["cluster", "status", CLUSTER, "--wait", "0s"]).map(drop)
    });
    Ok(())
}

/// kubectl through the manager.
fn kubernetes(cx: &mut Cx, hosted: &Hosted<'_>) {
    cx.case("kubectl works through the manager with a token for a program", || {
        hosted.fetch_kubeconfig()?;
        hosted.wait_nodes_ready().map(drop)
    });
    cx.case("a pod serves a page through a ClusterIP, seen through the manager", || {
        hosted.deploy_hello()?;
        hosted.wait_page().map(drop)
    });
    let file = cx.folder().join("kubeconfig-of-nobody");
    cx.case("a token of another group may not do what an administrator may", || {
        let cluster = format!("--cluster={CLUSTER}");
        let file = file.to_string_lossy();
        let nobody = ["--service-account", "--user=nobody", "--groups=e2e:nobody"];
        let place = ["--merge=false", "--force", &*file];
        hosted.manager.run(&[&["kubeconfig", cluster.as_str()][..], &nobody, &place].concat())?;
        let kubectl = hosted.manager.reach(&hosted.kubectl).with(["--kubeconfig", &file]);
        let said = kubectl.refuse(&["get", "secrets", "--all-namespaces"])?;
        ensure!(said.contains("Forbidden") || said.contains("forbidden"), "{said}");
        Ok(())
    });
    let altered = cx.folder().join("kubeconfig-altered");
    cx.case("a token that was altered is refused", || {
        let text = std::fs::read_to_string(&hosted.files.kubeconfig)?;
        let token = text.lines().find_map(|line| line.trim().strip_prefix("token: "));
        let token = token.context("the kubeconfig has no token")?;
        let (head, tail) = token.split_at(token.len() / 2);
        let other = if tail.starts_with('A') { "B" } else { "A" };
        let changed = format!("{head}{other}{}", tail.get(1..).unwrap_or_default());
        crate::cluster::write_secret(&altered, &text.replace(token, &changed))?;
        let kubectl = hosted.manager.reach(&hosted.kubectl);
        kubectl.with(["--kubeconfig", &altered.to_string_lossy()]).refuse(&["get", "nodes"]).map(drop)
    });
}

/// talosctl through the manager.
fn machine_api(cx: &mut Cx, hosted: &Hosted<'_>, talosctl: &Tool) {
    let uuid = hosted.template.control_planes[0].clone();
    let key = hosted.manager.fleet.administrator();
    let proxied = |key: &str| {
        let config = hosted.files.talosconfig.to_string_lossy();
        hosted.manager.access(talosctl, key).with(["--talosconfig", &config, "--nodes", &uuid])
    };
    cx.case("talosctl works through the manager with the key of a service account", || {
        hosted.fetch_talosconfig()?;
        let admin = proxied(&key?);
        let questions: [(&[&str], &str); 5] = [
            (&["version"], "Server:"),
            (&["services"], "kubelet"),
            (&["get", "machinestatus"], "running"),
            (&["read", "/etc/os-release"], "NAME="),
            (&["logs", "machined", "--tail", "5"], "\n"),
        ];
        for (arguments, wanted) in questions {
            let text = admin.run(arguments)?;
            ensure!(text.contains(wanted), "{arguments:?} shows no `{wanted}`:\n{text}");
        }
        for arguments in [&["bootstrap"][..], &["reset", "--wait=false"]] {
            let said = admin.refuse(arguments)?;
            ensure!(said.contains("PermissionDenied"), "{arguments:?}: {said}");
        }
        Ok(())
    });
    cx.case("what a reader may do through the manager is to read", || {
        let role = ["--use-user-role=false", "--role", "Reader"];
        let made = hosted.manager.run(&[&["serviceaccount", "create", "e2e-looker"][..], &role].concat())?;
        let reader = proxied(&key_in(&made)?);
        reader.run(&["version"])?;
        let said = reader.refuse(&["reboot", "--wait=false"])?;
        ensure!(said.contains("PermissionDenied"), "{said}");
        hosted.manager.run(&["serviceaccount", "destroy", "e2e-looker"]).map(drop)
    });
}

/// What one looks into when something is wrong.
fn diagnosis(cx: &mut Cx, hosted: &Hosted<'_>, emulator: &Emulator) {
    let (file, folder) = (cx.folder().join("support.zip"), cx.folder().join("support"));
    let (is_own, mode) = (cx.options().client == Client::Corten, cx.mode());
    let uuid = &hosted.template.control_planes[0];
    cx.case("a support bundle has what the manager, the machine and Kubernetes tell of the cluster", || {
        let (path, cluster) = (file.to_string_lossy(), format!("--cluster={CLUSTER}"));
        let mut arguments = vec!["support", cluster.as_str(), "--output", &*path];
        arguments.extend(is_own.then_some("--no-encryption"));
        hosted.manager.output(&arguments, hosted.limit(300))?.success()?;
        let bundle = Bundle::unpack(&file, folder.clone())?;
        for name in ["fleet/Clusters.omni.sidero.dev.yaml", "fleet/MachineStatuses.omni.sidero.dev.yaml"] {
            bundle.text(name)?;
        }
        for name in ["nodes", "pods", "events", "version"] {
            bundle.text(&format!("kubernetes/{name}.yaml"))?;
        }
        let of_machine = |name: &str| bundle.text(&format!("machines/{uuid}/{name}"));
        for name in ["summary", "mounts", "processes", "etcd/members.txt", "vitals.yaml"] {
            of_machine(name)?;
        }
        of_machine("service-logs/kubelet.log")?;
        ensure!(of_machine("services")?.contains("kubelet"), "the kubelet is no service");
        let stage = of_machine("resources/machinestatuses.runtime.talos.dev.yaml")?;
        ensure!(stage.contains("running"), "{stage}");
        let manifest = bundle.text("manifest.yaml")?;
        match mode {
            Mode::Qemu => of_machine("log.txt").and(of_machine("dmesg.log")).map(drop),
            Mode::Container => {
                ensure!(manifest.contains("has sent no lines"), "its log is not missed:\n{manifest}");
                Ok(())
            }
        }
    });
    cx.case("no secret stands in a support bundle", || {
        let kubeconfig = std::fs::read_to_string(&hosted.files.kubeconfig)?;
        let token = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("token: "));
        let token = token.context("the kubeconfig has no token")?.to_owned();
        let secrets = [
            ("the join token", hosted.manager.token()?),
            ("the key of the administrator", hosted.manager.fleet.administrator()?),
            ("the token of a program in Kubernetes", token),
        ];
        Bundle::unpack(&file, folder.clone())?.check_without(&secrets)
    });
    let words = |line: &str| -> Result<String> {
        let line: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        line["msg"].as_str().map(str::to_owned).context("a line without words")
    };
    cx.case("the log of a machine is read from its end", || {
        let text = hosted.manager.run(&["machine-logs", &emulator.uuid(0)?, "--tail", "3"])?;
        let lines: Vec<String> = text.lines().map(words).collect::<Result<_>>()?;
        ensure!((1..=3).contains(&lines.len()), "not one to three lines came:\n{text}");
        Ok(())
    });
    cx.case("a machine without a kernel of its own has no kernel log, and that is told", || {
        let ask = ["machine-logs", uuid.as_str(), "--tail", "3"];
        match mode {
            Mode::Qemu => hosted.manager.run(&ask)?.lines().try_for_each(|line| words(line).map(drop)),
            Mode::Container => {
                let said = hosted.manager.client().refuse(&ask)?;
                ensure!(said.contains("has sent no lines"), "{said}");
                Ok(())
            }
        }
    });
}

/// A template comes out as it went in, and takes the cluster away.
fn export_and_delete(cx: &mut Cx, hosted: &Hosted<'_>) {
    let exported = cx.folder().join("exported.yaml");
    let file = hosted.files.template.to_string_lossy();
    cx.case("an exported template is valid, and its sync changes nothing", || {
        let (output, cluster) = (exported.to_string_lossy(), format!("--cluster={CLUSTER}"));
        hosted.manager.run(&["cluster", "template", "export", &cluster, "--output", &output, "--force"])?;
        hosted.manager.run(&["cluster", "template", "validate", "--file", &output])?;
        let sync = ["cluster", "template", "sync", "--file", &*output, "--dry-run"];
        let told = hosted.manager.output(&sync, ASK_MAX)?;
        let said = format!("{}{}", told.stdout, told.stderr);
        told.success()?;
        ensure!(is_unchanged(&said), "{said}");
        Ok(())
    });
    cx.case("a deleted cluster is gone, and its machine waits for a configuration again", || {
        let delete = ["cluster", "template", "delete", "--file", &*file];
        hosted.manager.output(&delete, GONE_MAX)?.success()?;
        ensure!(hosted.manager.get(kind::CLUSTER, CLUSTER).is_err(), "the cluster is still there");
        let uuid = &hosted.template.control_planes[0];
        hosted.manager.until("the machine in maintenance", GONE_MAX, || {
            let status = hosted.manager.connected(uuid)?;
            ensure!(status["spec"]["maintenance"] == true, "{}", status["spec"]);
            Ok(())
        })?;
        Ok(())
    });
}

/// Whether a dry run has told of no change. Both clients tell every change in a line of its own.
fn is_unchanged(told: &str) -> bool {
    !["creating", "updating", "tearing down", "deleting"].iter().any(|word| told.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_what_a_client_prints() {
        let printed = "OMNI_ENDPOINT=https://a\nOMNI_SERVICE_ACCOUNT_KEY=eyJuYW1lIjoiYSJ9\n";
        assert_eq!(key_in(printed).unwrap(), "eyJuYW1lIjoiYSJ9");
        assert!(key_in("nothing").is_err());
    }

    #[test]
    fn changes_are_seen_in_what_both_clients_tell() {
        assert!(is_unchanged("") && is_unchanged("nothing has to be changed\n"));
        assert!(!is_unchanged("* creating (dry run) Clusters.omni.sidero.dev(e2e)\n"));
        assert!(!is_unchanged("updating Clusters.omni.sidero.dev/e2e (only told)\n"));
    }
}
