//! Tests of the factory as a whole, over a small image.

use std::io::Read as _;

use super::testing::factory;
use super::*;

const JOINING: &str =
    "customization: {extraKernelArgs: ['siderolink.api=grpc://m?jointoken=abc', console=ttyS1]}";

fn bytes(mut found: Found) -> Vec<u8> {
    let mut bytes = Vec::new();
    found.file.read_to_end(&mut bytes).expect("read");
    assert_eq!(bytes.len() as u64, found.facts.length);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    assert_eq!(hex::encode(hash), found.facts.sha256);
    bytes
}

async fn kept(factory: &Factory, text: &str) -> String {
    let schematic = Schematic::parse(text).expect("a schematic");
    factory.keep(schematic.clone()).await.expect("kept");
    schematic.id().to_string()
}

#[tokio::test]
async fn a_medium_is_the_same_after_it_went_from_the_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    let (factory, version) = factory(folder.path(), 1 << 30);
    let id = kept(&factory, JOINING).await;
    for name in ["metal-amd64.iso", "metal-amd64.raw", "metal-amd64.raw.xz", "initramfs-amd64.xz"] {
        let first = factory.medium(&id, &version, name).await.expect(name);
        let path = std::fs::read_dir(folder.path().join("own/cache")).expect("listed").flatten();
        let first = bytes(first);
        for entry in path {
            std::fs::remove_file(entry.path()).expect("removed");
        }
        let again = bytes(factory.medium(&id, &format!("v{version}"), name).await.expect(name));
        assert!(again == first, "{name} is another one");
    }
}

#[tokio::test]
async fn everybody_who_asks_at_once_gets_the_one_that_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let (factory, version) = factory(folder.path(), 1 << 30);
    let id = kept(&factory, JOINING).await;
    let asked = (0..5).map(|_| factory.medium(&id, &version, "metal-amd64.iso"));
    let all = futures::future::try_join_all(asked).await.expect("made");
    let cache = std::fs::read_dir(folder.path().join("own/cache")).expect("listed");
    assert_eq!(cache.count(), 2, "one medium and its facts");
    assert!(all.iter().all(|found| found.facts == all[0].facts));
}

#[tokio::test]
async fn the_script_has_what_the_command_line_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let (factory, version) = factory(folder.path(), 1 << 30);
    let id = kept(&factory, JOINING).await;
    let line = bytes(factory.medium(&id, &version, "cmdline-metal-amd64").await.expect("a line"));
    let line = String::from_utf8(line).expect("text");
    assert!(line.contains("jointoken=abc"));
    let script = factory.script(&id, &version, "metal-amd64").await.expect("a script");
    assert!(script.contains(&format!("/v{version}/kernel-amd64 {line} initrd=")), "{script}");
    let id = kept(&factory, "customization: {meta: [{key: 12, value: x}]}").await;
    let error = factory.script(&id, &version, "metal-amd64").await.expect_err("no META");
    assert!(corten_base::chain(&error).contains("on disks only"), "{error}");
}

#[tokio::test]
async fn a_refusal_names_schematic_version_and_file_and_what_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (factory, version) = factory(folder.path(), 1 << 20);
    let id = kept(&factory, JOINING).await;
    let unknown = "0".repeat(64);
    for (id, version, name, parts) in [
        (&id, "9.9.9", "metal-amd64.iso", ["version \"9.9.9\" for metal-amd64", "there is "]),
        (&id, version.as_str(), "metal-arm64.iso", ["for metal-arm64", "metal-amd64"]),
        (&id, version.as_str(), "metal-amd64.qcow2", ["is not made here", "PLATFORM-ARCH.iso"]),
        (&id, version.as_str(), "x", ["\"x\" is not known", "metal-amd64.iso"]),
        (&unknown, version.as_str(), "metal-amd64.iso", ["no such schematic", "post it"]),
        (&id, version.as_str(), "metal-amd64.raw", ["media may take 1048576 in all", "media.maxSize"]),
    ] {
        let error = factory.medium(id, version, name).await.expect_err(name);
        let text = corten_base::chain(&error);
        let begin = format!("cannot make {name:?} of version {version:?} with schematic {id:?}: ");
        assert!(text.starts_with(&begin), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[tokio::test]
async fn an_image_that_was_changed_is_not_made_media_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let (factory, version) = factory(folder.path(), 1 << 30);
    let id = kept(&factory, JOINING).await;
    std::fs::write(folder.path().join("image/vmlinuz"), "x".repeat(50_000)).expect("written");
    let error = factory.medium(&id, &version, "kernel-amd64").await.expect_err("changed");
    assert!(corten_base::chain(&error).contains("vmlinuz is not the file"), "{error}");
    assert!(factory.medium(&id, &version, "metal-amd64.iso").await.is_ok(), "which takes nothing of it");
}
