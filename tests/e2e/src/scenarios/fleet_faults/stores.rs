//! Stores that cannot be used: the manager says which file it is about and what helps, and does not serve. One whose
//! disk is full says so, serves what it has, and goes on by itself when there is room.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use corten_base::Rng;
use corten_harness::{Fleet, FleetPorts, FleetSpec};
use corten_sys::Kernel;
use corten_sys::mount::{Mount, Mounts as _, Unmount};
use serde_json::json;

use crate::cluster::write_secret;
use crate::cx::{Cx, say};
use crate::fleet::{ASK_MAX, documents, kind};
use crate::tool::Tool;
use crate::wait::patiently;

/// How long a manager may take to end in order.
const GRACE: Duration = Duration::from_secs(30);
/// Ports after those of the other manager.
const PORTS: u16 = FleetPorts::COUNT + 10;
/// Bytes at the beginning of the store that tell what it is.
const HEADER: usize = 512;
/// Size of a disk that is soon full, as its mount takes it.
const SMALL: &str = "size=8m";
/// More than fits on it, bytes.
const FILLER: usize = 16 << 20;
/// Random bytes of a patch; what is random stays as large as it is.
const NOISE: usize = 150_000;
/// Patches that are more than the small disk.
const PATCHES: u32 = 60;
/// How long a manager may take to find that its disk has room again.
const MENDED_MAX: Duration = Duration::from_secs(30);

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
    full(cx, &spec)
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
        fs::write(&path, &bytes).context("cannot damage the store")?;
        let sentence = format!("a store {what} is refused with its file and the way out, and left as it is");
        cx.case(&sentence, || {
            expect(spec.clone(), &["fleet.redb", "restore"])?;
            ensure!(fs::read(&path)? == bytes, "the manager has written to it");
            Ok(())
        });
    }
    fs::write(&path, whole).context("cannot mend the store")
}

/// A disk of a few megabytes, which goes with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Kernel.mount(&Mount::pseudo("tmpfs", &folder).options(SMALL)).context("cannot mount a small disk")?;
        Ok(Self(folder))
    }

    /// Leaves no room on it.
    fn fill(&self) -> Result<PathBuf> {
        let filler = self.0.join("filler");
        // What does not fit is the aim.
        let filled = fs::write(&filler, vec![1; FILLER]);
        ensure!(filled.is_err(), "the disk is larger than it should be");
        Ok(filler)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A manager may still have it open; it goes with that.
        let _ = Kernel.unmount(&self.0, Unmount::Lazy);
    }
}

/// What the API answers to a question for its health: status line and text.
pub fn health(spec: &FleetSpec) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, spec.ports.api())).context("no connection")?;
    stream.set_read_timeout(Some(ASK_MAX))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no answer")?;
    Ok(answer)
}

/// Fails unless the manager says that it is well.
pub fn well(spec: &FleetSpec) -> Result<()> {
    let answer = health(spec)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "it is not well: {answer}");
    Ok(())
}

/// Hands a patch of incompressible comments to a manager; an error is what the client says.
fn patch(tool: &Tool, folder: &Path, id: &str) -> Result<String> {
    let mut noise = vec![0; NOISE];
    Rng::kernel().fill(&mut noise);
    let noise = corten_config::values::to_base64(noise);
    let mut text = format!(
        "metadata:\n  namespace: default\n  type: {}\n  id: {id}\nspec:\n  data: |\n    machine: {{}}\n",
        kind::CONFIG_PATCH,
    );
    for line in noise.as_bytes().chunks(100) {
        text += &format!("    # {}\n", String::from_utf8_lossy(line));
    }
    let file = folder.join(format!("{id}.yaml"));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    tool.run_for(&["apply", "-f", &file.to_string_lossy()], ASK_MAX)
}

/// Ids of all patches.
fn patches(tool: &Tool) -> Result<Vec<String>> {
    let all = documents(&tool.run_for(&["get", kind::CONFIG_PATCH, "-o", "json"], ASK_MAX)?)?;
    Ok(all.iter().filter_map(|it| it["metadata"]["id"].as_str()).map(str::to_owned).collect())
}

/// A disk without room: told by every refused write and by the health, and over as soon as there is room.
fn full(cx: &mut Cx, spec: &FleetSpec) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        say("left out: a full disk needs root, for a disk of its own");
        return Ok(());
    }
    let disk = SmallDisk::mount(cx.folder().join("small"))?;
    let (mut spec, folder) = (spec.clone(), cx.folder().join("full"));
    (spec.name, spec.folder) = ("full".to_owned(), folder.clone());
    let store = disk.0.join("fleet.redb");
    spec.settings.insert("storage.default.embedded.path".to_owned(), json!(store));
    // Its entries go beside the store, and are another story.
    spec.settings.insert("logs.audit.enabled".to_owned(), json!(false));
    let mut fleet = Fleet::start(spec.clone())?;
    let tool = cx.fleet_client()?.env("OMNI_ENDPOINT", spec.api_url());
    let tool = tool.env("OMNI_SERVICE_ACCOUNT_KEY", fleet.administrator()?);
    let (mut kept, mut refused) = (Vec::new(), String::new());
    let filler = disk.fill()?;
    cx.case(
        "a write to a full disk is refused with file, disk and what helps, and the health says so",
        || {
            well(&spec)?;
            for number in 0..PATCHES {
                let id = format!("e2e-full-{number}");
                let Err(error) = patch(&tool, &folder, &id) else {
                    kept.push(id);
                    continue;
                };
                refused = id;
                let said = format!("{error:#}");
                for word in ["fleet.redb", "MiB free of", "has no room; make some"] {
                    ensure!(said.contains(word), "it does not say `{word}`: {said}");
                }
                let answer = health(&spec)?;
                ensure!(answer.starts_with("HTTP/1.1 500") && answer.contains("fleet.redb"), "{answer}");
                ensure!(patches(&tool)?.len() == kept.len(), "what is kept is not served");
                return Ok(());
            }
            anyhow::bail!("{PATCHES} patches fit on a full disk")
        },
    );
    cx.case("when the disk has room again the manager goes on by itself", || {
        fs::remove_file(&filler).context("cannot make room")?;
        let evidence = || fleet.evidence();
        patiently("the manager to be well", MENDED_MAX, evidence, || well(&spec))?;
        patch(&tool, &folder, "e2e-room")?;
        kept.push("e2e-room".to_owned());
        Ok(())
    });
    cx.case("after a kill everything is there that was acknowledged, and nothing that was refused", || {
        fleet.kill()?;
        fleet.start_again()?;
        let mut found = patches(&tool)?;
        found.sort();
        kept.sort();
        ensure!(found == kept, "{found:?} are there, {kept:?} were acknowledged, {refused} was refused");
        fleet.stop(GRACE)
    });
    Ok(())
}
