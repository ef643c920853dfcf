//! Stores that cannot be used: the manager says which file it is about and what helps, and does not serve.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use corten_base::Rng;
use corten_harness::{Fleet, FleetPorts, FleetSpec};
use serde_json::json;

use crate::cluster::write_secret;
use crate::cx::Cx;

/// How long a manager may take to end in order.
const GRACE: Duration = Duration::from_secs(30);
/// Ports after those of the other manager.
const PORTS: u16 = FleetPorts::COUNT + 10;
/// Bytes at the beginning of the store that tell what it is.
const HEADER: usize = 512;

/// Proves every sentence about stores with a manager of its own.
pub fn prove(cx: &mut Cx) -> Result<()> {
    let mut spec = cx.manager(None)?;
    let first = spec.ports.0;
    (spec.name, spec.folder) = ("stores".to_owned(), cx.folder().join("stores"));
    spec.ports = FleetPorts(first + PORTS);
    let mut fleet = Fleet::start(spec.clone())?;
    locked(cx, &spec);
    let administrator = fleet.administrator()?;
    fleet.stop(GRACE)?;
    keys(cx, &spec)?;
    damaged(cx, &spec)?;
    cx.case("after all that the manager serves from its store, with the administrator that it had", || {
        fleet.start_again()?;
        ensure!(fleet.administrator()? == administrator, "the administrator's key is another");
        fleet.stop(GRACE)
    });
    Ok(())
}

/// A second manager does not touch the store of the first.
fn locked(cx: &mut Cx, spec: &FleetSpec) {
    let folder = cx.folder().join("second");
    cx.case("a second manager at the same store is refused, with the file and the reason", || {
        let mut second = spec.clone();
        (second.name, second.folder) = ("second".to_owned(), folder);
        second.ports = FleetPorts(spec.ports.0 + PORTS);
        second.settings.insert("storage.default.embedded.path".to_owned(), json!(spec.store()));
        second.settings.insert("storage.default.keyFile".to_owned(), json!(spec.store_key()));
        expect(second, &["open in another program", "fleet.redb"])
    });
}

/// A start that is refused with all these words, and without a panic.
fn expect(spec: FleetSpec, words: &[&str]) -> Result<()> {
    let said = Fleet::refuse(spec)?;
    ensure!(!said.contains("panicked"), "it panics: {said}");
    for word in words {
        ensure!(said.contains(word), "it does not say `{word}`: {said}");
    }
    Ok(())
}

fn keys(cx: &mut Cx, spec: &FleetSpec) -> Result<()> {
    let path = spec.store_key();
    let key = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let other = corten_config::values::to_base64(Rng::kernel().bytes::<32>());
    for (what, text, words) in [
        ("a wrong key", format!("{other}\n"), ["does not open the store", "store.key"]),
        ("a key that is none", "hunter2\n".to_owned(), ["holds no key", "store.key"]),
    ] {
        write_secret(&path, &text)?;
        cx.case(&format!("{what} is refused, and its text is not repeated"), || {
            let said = Fleet::refuse(spec.clone())?;
            ensure!(!said.contains(text.trim()), "it repeats the key");
            words.iter().try_for_each(|word| {
                ensure!(said.contains(word), "it does not say `{word}`: {said}");
                Ok(())
            })
        });
    }
    fs::remove_file(&path).context("cannot remove the key")?;
    cx.case("a missing key is refused, and no new one is made", || {
        expect(spec.clone(), &["store.key"])?;
        ensure!(!path.exists(), "a new key was made for an old store");
        Ok(())
    });
    write_secret(&path, &key)?;
    set_mode(&path, 0o644)?;
    cx.case("a key that others can read is refused", || expect(spec.clone(), &["chmod 600"]));
    set_mode(&path, 0o600)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot change the mode of {}", path.display()))
}

fn damaged(cx: &mut Cx, spec: &FleetSpec) -> Result<()> {
    let path = spec.store();
    let whole = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut headless = whole.clone();
    headless.iter_mut().take(HEADER).for_each(|byte| *byte = 0);
    let half = whole.get(..whole.len() / 2).unwrap_or_default().to_vec();
    let mut scratched = whole.clone();
    // One byte in every 64: no value and no page of the tree is as it was.
    scratched.iter_mut().skip(HEADER).step_by(64).for_each(|byte| *byte ^= 0x55);
    let damages = [("without its beginning", headless), ("cut in half", half), ("with scratches", scratched)];
    for (what, bytes) in damages {
        fs::write(&path, bytes).context("cannot damage the store")?;
        let sentence = format!("a store {what} is refused with its file");
        cx.case(&sentence, || expect(spec.clone(), &["fleet.redb"]));
    }
    fs::write(&path, whole).context("cannot mend the store")
}
