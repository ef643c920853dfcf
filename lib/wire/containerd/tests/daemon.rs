//! Against a real containerd: import, run, survive the daemon's restart, pull through a mirror.
//!
//! `CORTEN_CONTAINERD` names a folder with containerd, its runc shim and runc. The daemon lives in own mount
//! and process namespaces with private folders, so nothing of it outlives the test.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test drives real daemons and fails by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "this test starts the daemon itself")]

#[path = "daemon/fixture.rs"]
mod fixture;
#[path = "daemon/registry.rs"]
mod registry;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use corten_containerd::spec::Mount;
use corten_containerd::{
    Client, Credentials, EventKind, IMAGE_MANAGED, IMAGE_PINNED, ImportOptions, Namespace, NewContainer,
    Output, PullOptions, Rootfs, RuntimeOptions, SpecBuilder, TaskState, UnpackedImage,
};
use fixture::{Daemon, IMAGE};
use futures::StreamExt;

const TERM: u32 = 15;

async fn import(daemon: &Daemon, namespace: &Namespace) {
    let layout = daemon.layout();
    let archive = corten_containerd::layout_directory(&layout).await.unwrap();
    let mut options = ImportOptions::default();
    options.labels.insert(IMAGE_MANAGED.0.into(), IMAGE_MANAGED.1.into());
    assert_eq!(namespace.import(archive, &options).await.unwrap(), [IMAGE]);
}

fn shell(daemon: &Daemon, script: &str) -> NewContainer {
    let mut builder = SpecBuilder::new()
        .command(["/bin/sh", "-c", script])
        .host_namespaces(&["network"])
        .cgroup(&format!("{}/{}", daemon.cgroup, "a"))
        .memory_limit(64 << 20);
    for folder in ["/bin", "/lib", "/lib64", "/usr"] {
        builder = builder.mount(Mount::read_only(folder, folder));
    }
    NewContainer {
        id: "shell".into(),
        rootfs: Rootfs::Image(IMAGE.into()),
        spec: builder.build(),
        labels: BTreeMap::from([("corten.dev/test".into(), "yes".into())]),
        runtime: RuntimeOptions::default(),
    }
}

#[tokio::test]
async fn images_are_imported_named_and_removed() {
    let Some(daemon) = Daemon::start("images").await else { return };
    let namespace = daemon.client.namespace("system").unwrap();
    import(&daemon, &namespace).await;
    let image = namespace.image(IMAGE).await.unwrap();
    assert_eq!(image.labels[IMAGE_MANAGED.0], IMAGE_MANAGED.1);
    let config = namespace.image_config(IMAGE).await.unwrap();
    assert_eq!((config.entrypoint.as_slice(), config.diff_ids.len()), (&["/bin/sh".to_owned()][..], 1));
    assert!(config.size > 1000);

    namespace.tag_image(IMAGE, "example.org/other:1").await.unwrap();
    namespace.tag_image(IMAGE, "example.org/other:1").await.unwrap();
    namespace.label_image(IMAGE, ("a/b", "c")).await.unwrap();
    let names: Vec<String> = namespace.list_images().await.unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["example.org/other:1", IMAGE]);
    for name in names {
        namespace.remove_image(&name).await.unwrap();
    }
    assert!(!namespace.has_image(IMAGE).await.unwrap());
    assert!(namespace.remove_image(IMAGE).await.unwrap_err().is_not_found());

    let rubbish = futures::stream::iter([Ok(bytes::Bytes::from_static(&[7; 4096]))]);
    assert!(namespace.import(rubbish, &ImportOptions::default()).await.is_err());
    let broken = futures::stream::iter([Err(std::io::Error::other("disk is gone"))]);
    let error = namespace.import(broken, &ImportOptions::default()).await.unwrap_err();
    assert!(corten_base::chain(&error).contains("disk is gone"));
}

#[tokio::test]
async fn an_image_that_lies_unpacked_is_used_where_it_lies() {
    let Some(mut daemon) = Daemon::start("adopt").await else { return };
    let layers = daemon.client.namespace("k8s.io").unwrap();
    let namespace = daemon.client.namespace("system").unwrap().with_layers_of(&layers);
    assert_eq!(UnpackedImage::all_in(&daemon.layout()).unwrap(), [], "its layer is only a blob");
    let folder = daemon.unpack_layer();
    let images = UnpackedImage::all_in(&daemon.layout()).unwrap();
    let labels =
        BTreeMap::from([IMAGE_MANAGED, IMAGE_PINNED].map(|(key, value)| (key.to_owned(), value.to_owned())));
    for namespace in [&layers, &namespace, &layers] {
        namespace.adopt(&images[0], &labels, SystemTime::now()).await.unwrap();
        assert_eq!(namespace.image(IMAGE).await.unwrap().labels, labels);
    }
    // Another image goes with all that only it refers to; what was adopted stays.
    layers.tag_image(IMAGE, "example.org/other:1").await.unwrap();
    layers.remove_image("example.org/other:1").await.unwrap();
    daemon.restart().await;

    let mut new = shell(&daemon, "echo mine >/mine; cat /hello /mine; sleep 60");
    new.spec.root.readonly = false;
    namespace.create_container(&new).await.unwrap();
    let log = daemon.path("shell.log");
    namespace.start_task("shell", &Output::File(log.clone())).await.unwrap();
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    fixture::eventually("output", || said() == "hello\nmine\n").await;
    assert!(!folder.join("mine").exists(), "what a container writes is its own");
    namespace.signal_task("shell", 9, true).await.unwrap();
    namespace.watch_exit("shell").await.unwrap();
    namespace.delete_task("shell").await.unwrap();
    namespace.remove_container("shell").await.unwrap();

    namespace.remove_image(IMAGE).await.unwrap();
    layers.remove_image(IMAGE).await.unwrap();
    assert!(layers.image_config(IMAGE).await.is_err());
    assert!(folder.join("hello").is_file(), "the files are not containerd's to remove");
    // And once more from nothing.
    layers.adopt(&images[0], &labels, SystemTime::now()).await.unwrap();
    assert_eq!(layers.image_config(IMAGE).await.unwrap().diff_ids.len(), 1);
}

#[tokio::test]
async fn a_container_survives_the_daemon_and_reports_its_exit() {
    let Some(mut daemon) = Daemon::start("containers").await else { return };
    let namespace = daemon.client.namespace("system").unwrap();
    import(&daemon, &namespace).await;
    let new = shell(&daemon, "cat /hello; trap 'exit 7' TERM; while :; do sleep 0.05; done");
    namespace.create_container(&new).await.unwrap();
    assert!(namespace.create_container(&new).await.is_err(), "the name is taken");
    let log = daemon.path("shell.log");
    let pid = namespace.start_task("shell", &Output::File(log.clone())).await.unwrap();
    assert!(pid > 0);
    fixture::eventually("output", || std::fs::read_to_string(&log).is_ok_and(|it| it == "hello\n")).await;
    let containers = namespace.list_containers().await.unwrap();
    assert_eq!(containers[0].labels["corten.dev/test"], "yes");
    assert_eq!(containers[0].spec().unwrap().process.args, new.spec.process.args);
    let usage = namespace.usage().await.unwrap();
    assert!(usage[0].id == "shell" && usage[0].memory > 0, "{usage:?}");

    let watched = namespace.clone();
    let exit = corten_base::spawn("watch", async move { watched.watch_exit("shell").await });
    daemon.restart().await;
    let task = namespace.task("shell").await.unwrap().unwrap();
    assert_eq!(
        (task.pid, task.state),
        (pid, TaskState::Running),
        "the daemon's restart is not the container's"
    );
    assert_eq!(namespace.list_tasks().await.unwrap(), [task]);
    assert!(!exit.is_finished());

    let mut events = namespace.events();
    assert!(futures::poll!(events.next()).is_pending());
    namespace.signal_task("shell", TERM, false).await.unwrap();
    assert_eq!(exit.join().await.unwrap().unwrap().unwrap().status, 7);
    while let Some(event) = events.next().await {
        if let EventKind::Exited { id, exit, .. } = event.unwrap().kind {
            assert_eq!((id.as_str(), exit.status), ("shell", 7));
            break;
        }
    }
    let ended = namespace.destroy_container("shell", TERM, Duration::from_secs(5)).await.unwrap();
    assert_eq!(ended.unwrap().status, 7);
    assert!(namespace.task("shell").await.unwrap().is_none());
    assert!(namespace.list_containers().await.unwrap().is_empty());
    assert_eq!(namespace.destroy_container("shell", TERM, Duration::from_secs(5)).await.unwrap(), None);
}

#[tokio::test]
async fn a_deaf_process_is_killed_and_a_bad_program_leaves_nothing() {
    let Some(daemon) = Daemon::start("stubborn").await else { return };
    let namespace = daemon.client.namespace("system").unwrap();
    import(&daemon, &namespace).await;
    let deaf = shell(&daemon, "trap '' TERM; echo deaf; while :; do sleep 0.05; done");
    namespace.create_container(&deaf).await.unwrap();
    let log = daemon.path("shell.log");
    namespace.start_task("shell", &Output::File(log.clone())).await.unwrap();
    // A task is started when runc's own process is about to become the shell, and that one is not deaf: it ends with 2.
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    fixture::eventually("the shell's trap", || said() == "deaf\n").await;
    let exit = namespace.destroy_container("shell", TERM, Duration::from_millis(500)).await.unwrap();
    assert_eq!(exit.unwrap().status, 137);

    let mut bad = shell(&daemon, "");
    bad.spec.process.args = vec!["/no/such/program".into()];
    namespace.create_container(&bad).await.unwrap();
    let error = namespace.start_task("shell", &Output::Null).await.unwrap_err();
    assert!(corten_base::chain(&error).contains("/no/such/program"), "{}", corten_base::chain(&error));
    assert!(namespace.list_tasks().await.unwrap().is_empty());
    namespace.remove_container("shell").await.unwrap();

    let absent = NewContainer { rootfs: Rootfs::Image("example.org/absent:1".into()), ..bad };
    assert!(namespace.create_container(&absent).await.unwrap_err().is_not_found());
    assert!(namespace.list_containers().await.unwrap().is_empty());
}

#[tokio::test]
async fn pulls_through_a_mirror_with_credentials() {
    let Some(daemon) = Daemon::start("pull").await else { return };
    let namespace = daemon.client.namespace("k8s.io").unwrap();
    let mirror = registry::serve(daemon.layout()).await;
    let hosts = daemon.write_mirror("example.org", &mirror.url);
    let mut options = PullOptions { hosts: Some(hosts), ..Default::default() };
    let refused = namespace.pull(IMAGE, &options, |_| {}).await.unwrap_err();
    assert!(corten_base::chain(&refused).contains("401"), "{}", corten_base::chain(&refused));

    let credentials = Credentials { username: "u".into(), password: corten_base::Secret::new("p".into()) };
    options.credentials.insert(mirror.host, credentials);
    options.labels.insert(IMAGE_MANAGED.0.into(), IMAGE_MANAGED.1.into());
    let mut steps = Vec::new();
    namespace.pull(IMAGE, &options, |step| steps.push(step.event)).await.unwrap();
    assert!(!steps.is_empty());
    assert_eq!(namespace.image_config(IMAGE).await.unwrap().diff_ids.len(), 1);
}

#[tokio::test]
async fn the_kubelets_part_answers() {
    let Some(daemon) = Daemon::start("cri").await else { return };
    let cri = daemon.client.cri();
    let conditions = cri.conditions().await.unwrap();
    assert!(conditions.iter().any(|it| it.name == "RuntimeReady" && it.holds), "{conditions:?}");
    assert!(cri.sandboxes().await.unwrap().is_empty() && cri.containers().await.unwrap().is_empty());
    assert!(cri.container_status("absent").await.unwrap_err().is_not_found());
    assert!(daemon.client.healthy().await.unwrap());
    let again = Client::connect(daemon.client.socket()).await.unwrap();
    assert!(again.version().await.unwrap().version.contains('.'));
}
