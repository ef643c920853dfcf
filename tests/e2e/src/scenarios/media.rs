//! Machines boot from media that the manager made, and are connected: an ISO, a disk and a kernel with its initramfs,
//! all with no other word of their manager than what is in them. A download that is cut off goes on.
//!
//! Network boot is told without iPXE: QEMU loads the kernel and the initramfs that the manager's script names. The kit
//! has no iPXE that the firmware of our machines starts, so the script is read here, line by line, as iPXE reads it.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_base::version::TAG;
use corten_harness::qemu::{Firmware, Program, find_uefi};
use corten_harness::{QemuMachine, QemuSpec};

use crate::cx::{Client, Cx};
use crate::fleet::media::{self, DOWNLOAD_MAX};
use crate::fleet::{Manager, Security, kind};
use crate::machine::{Machine, qemu_uuid};
use crate::tool::Tool;

/// How long a machine may take until the manager knows what it is made of, on bare metal.
const JOIN_MAX: Duration = Duration::from_secs(120);
/// Size of disks, bytes.
const DISK: u64 = 8 << 30;
/// Kernel arguments of an emulated machine, where nothing speculates. They say nothing of a manager.
const EMULATED: &str = "nopti mitigations=off";
/// Name of the preset.
const PRESET: &str = "e2e";

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let shop = Shop::open(cx)?;
    let folder = cx.folder().to_owned();
    refusals(cx, &shop);
    let (iso, disk) = (folder.join("metal.iso"), folder.join("metal.raw.xz"));
    let made = shop.download_iso(cx, &iso);
    cx.case("the client downloads an ISO with join data", || made);
    let made = shop.download_disk(&disk);
    cx.case("the client downloads a disk by a preset", || made);
    cut_off(cx, &shop, &folder);

    let mut seen = BTreeSet::new();
    let spec = from_iso(cx, &iso);
    boots(cx, &shop.manager, "an ISO", spec, &mut seen);
    let spec = from_disk(cx, &disk);
    boots(cx, &shop.manager, "a disk", spec, &mut seen);
    let spec = from_network(cx, &shop, &folder);
    boots(cx, &shop.manager, "a kernel and its initramfs", spec, &mut seen);
    Ok(())
}

/// A manager that makes media, and who asks it.
struct Shop {
    manager: Manager,
    curl: Tool,
    /// Where people reach the media.
    url: String,
    /// Where machines reach them, in their own network and from here.
    for_machines: [String; 2],
    version: &'static str,
}

impl Shop {
    fn open(cx: &Cx) -> Result<Self> {
        let lab = cx.shared_lab();
        let mut spec = cx.manager(Some(lab.clone()))?;
        let urls = media::urls(spec.ports, lab.gateway);
        let [_, from_here] = media::urls(spec.ports, std::net::Ipv4Addr::LOCALHOST);
        let settings = media::settings(&cx.image(), &urls);
        spec.settings.extend(settings.map(|(setting, value)| (setting.to_owned(), value)));
        let [url, in_network] = urls;
        let for_machines = [in_network, from_here];
        let manager = Manager::start(spec, &cx.fleet_client()?, Security::Tls)?;
        let authority = manager.authority().context("the manager has no authority")?.display().to_string();
        let curl = Tool::new("curl", "curl").with(["--silent", "--show-error", "--cacert", &authority]);
        Ok(Self { manager, curl, url, for_machines, version: TAG.trim_start_matches('v') })
    }

    fn download_iso(&self, cx: &Cx, path: &Path) -> Result<()> {
        let path = path.to_string_lossy();
        let mut line = self.verb(cx);
        line.extend(["--output", &*path]);
        self.manager.output(&line, DOWNLOAD_MAX)?.success().map(drop)
    }

    /// The verb by which an ISO is meant, which clients have in different places. They have another usual version.
    fn verb(&self, cx: &Cx) -> Vec<&str> {
        let mut line = match cx.options().client {
            Client::Talosctl => vec!["download", "iso"],
            Client::Corten => vec!["media", "download", "iso"],
        };
        line.extend(["--talos-version", self.version]);
        line
    }

    fn download_disk(&self, path: &Path) -> Result<()> {
        media::download_disk(&self.manager, PRESET, self.version, path)
    }

    /// The address of the script for network boot, as the client prints it.
    fn script_url(&self, cx: &Cx) -> Result<String> {
        let mut line = self.verb(cx);
        line.push("--pxe");
        let printed = self.manager.run(&line)?;
        let url = printed.lines().map(str::trim).rfind(|line| !line.is_empty());
        let url = url.context("the client prints no address")?;
        ensure!(url.starts_with(&self.for_machines[0]), "`{url}` is not where machines reach the manager");
        Ok(url.to_owned())
    }

    /// The address of a medium of the schematic that network boot is for.
    fn medium_url(&self, cx: &Cx, name: &str) -> Result<String> {
        let script = self.script_url(cx)?;
        let id = script.split("/pxe/").nth(1).and_then(|rest| rest.split('/').next());
        let id = id.with_context(|| format!("`{script}` has no schematic"))?;
        Ok(format!("{}/image/{id}/v{}/{name}", self.url, self.version))
    }

    /// The same address from here, where machines have another one.
    fn as_seen_here(&self, url: &str) -> String {
        url.replacen(&self.for_machines[0], &self.for_machines[1], 1)
    }

    /// Downloads something to a file.
    fn fetch(&self, url: &str, path: &Path) -> Result<()> {
        let path = path.to_string_lossy();
        self.curl.run_for(&["--fail", "--output", &*path, url], DOWNLOAD_MAX).map(drop)
    }

    /// A header of what is at a URL.
    fn header(&self, url: &str, name: &str) -> Result<String> {
        let head = self.curl.run_for(&["--fail", "--head", url], DOWNLOAD_MAX)?;
        let line = head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        line.with_context(|| format!("there is no {name} in\n{head}"))
    }
}

/// What there is no image of is refused by name, with what there is.
fn refusals(cx: &mut Cx, shop: &Shop) {
    let url = shop.medium_url(cx, "metal-amd64.iso");
    cx.case("a version, a processor and a format that are not there are refused with what there is", || {
        let url = url?;
        let here = format!("{} for metal-amd64", shop.version);
        for (from, to, parts) in [
            (shop.version, "9.9.9", ["\"9.9.9\"", here.as_str()]),
            ("amd64.iso", "arm64.iso", ["metal-arm64", here.as_str()]),
            ("amd64.iso", "amd64.qcow2", ["metal-amd64.qcow2 is not made here", "metal-amd64.qcow2"]),
        ] {
            let said = shop.curl.run(&[url.replace(from, to)])?;
            ensure!(parts.iter().all(|part| said.contains(part)), "{said}");
        }
        Ok(())
    });
}

/// A download that is cut off goes on where it stopped, also when the manager made the medium anew meanwhile.
fn cut_off(cx: &mut Cx, shop: &Shop, folder: &Path) {
    let (url, path) = (shop.medium_url(cx, "metal-amd64.iso"), folder.join("cut.iso"));
    let mut figures = None;
    cx.case("a download that is cut off goes on to the hash that the manager tells", || {
        let url = url?;
        let length: u64 = shop.header(&url, "content-length")?.parse().context("no length")?;
        let tag = shop.header(&url, "etag")?.trim_matches('"').to_owned();
        let target = path.to_string_lossy();
        let slowly = ["--limit-rate", "16M", "--max-time", "2", "--output", &*target, url.as_str()];
        shop.curl.output(&slowly, None, DOWNLOAD_MAX)?.failure()?;
        let part = path.metadata()?.len();
        ensure!(part > 0 && part < length, "{part} bytes of {length} came");
        let cache = shop.manager.folder().join("media/cache");
        for entry in std::fs::read_dir(&cache).with_context(|| format!("no {}", cache.display()))? {
            std::fs::remove_file(entry?.path())?;
        }
        let on = ["--fail", "--continue-at", "-", "--output", &*target, url.as_str()];
        shop.curl.run_for(&on, DOWNLOAD_MAX)?;
        let hashed = Tool::new("sha256sum", "sha256sum").run(&[&*target])?;
        ensure!(hashed.starts_with(&tag), "the hash is {hashed}, and the manager tells {tag}");
        figures = Some((length, part));
        Ok(())
    });
    if let Some((length, part)) = figures {
        cx.figure("iso_bytes", length);
        cx.figure("cut_off_after_bytes", part);
    }
}

/// A machine starts and is connected, though nobody but its medium has told it of the manager.
fn boots(cx: &mut Cx, manager: &Manager, what: &str, spec: Result<QemuSpec>, seen: &mut BTreeSet<String>) {
    let (limit, began) = (JOIN_MAX * cx.mode().pace(), Instant::now());
    let mut seconds = None;
    cx.case(&format!("{what} boots to connected"), || {
        let machine = Machine::Qemu(QemuMachine::start(spec?)?);
        let joined = manager.until(&format!("the machine of {what} to join"), limit, || {
            machine.check()?;
            let uuid = newcomer(manager, seen)?;
            manager.known(&uuid).map(|_| uuid)
        });
        let (uuid, _) = joined.map_err(|error| error.context(machine.evidence()))?;
        seen.insert(uuid);
        seconds = Some(began.elapsed().as_secs_f64());
        machine.cut_power()
    });
    if let Some(seconds) = seconds {
        cx.seconds(&format!("{what}: connected_seconds"), seconds);
    }
}

/// A machine that was not there before.
fn newcomer(manager: &Manager, seen: &BTreeSet<String>) -> Result<String> {
    let all = manager.list(kind::MACHINE_STATUS)?;
    let mut ids = all.iter().filter_map(|status| status["metadata"]["id"].as_str());
    let new = ids.find(|id| !seen.contains(*id)).map(str::to_owned);
    new.with_context(|| format!("the manager knows {} machines, and no new one", all.len()))
}

/// A machine with a disc in its drive, and a blank disk.
fn from_iso(cx: &Cx, iso: &Path) -> Result<QemuSpec> {
    let mut spec = machine(cx, 0, None)?;
    let disk = cx.folder().join("blank.raw");
    File::create(&disk).and_then(|file| file.set_len(DISK)).context("cannot make a blank disk")?;
    (spec.cdrom, spec.disks) = (Some(iso.to_owned()), vec![disk]);
    Ok(spec)
}

/// A machine with the disk as its only one.
fn from_disk(cx: &Cx, packed: &Path) -> Result<QemuSpec> {
    let mut spec = machine(cx, 1, None)?;
    let disk = media::unpack(packed)?;
    let file = File::options().write(true).open(&disk).context("xz has left no disk")?;
    file.set_len(DISK.max(file.metadata()?.len()))?;
    spec.disks = vec![disk];
    Ok(spec)
}

/// A machine without any disk, with what the script for network boot names.
fn from_network(cx: &Cx, shop: &Shop, folder: &Path) -> Result<QemuSpec> {
    let url = shop.as_seen_here(&shop.script_url(cx)?);
    let script = shop.curl.run_for(&["--fail", url.as_str()], DOWNLOAD_MAX)?;
    ensure!(script.starts_with("#!ipxe\n"), "this is no script of iPXE:\n{script}");
    let line = |command: &str| {
        let found = script.lines().find_map(|line| line.strip_prefix(command)?.strip_prefix(' '));
        found.with_context(|| format!("the script has no {command}:\n{script}"))
    };
    let (kernel_url, arguments) = line("kernel")?.split_once(' ').context("the kernel has no arguments")?;
    let fetch = |url: &str, name: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        shop.fetch(&shop.as_seen_here(url), &path)?;
        Ok(path)
    };
    let (kernel, initrd) = (fetch(kernel_url, "kernel")?, fetch(line("initrd")?, "initramfs.xz")?);
    let name = initrd.to_string_lossy().into_owned();
    Tool::new("xz", "xz").run(&["--test", name.as_str()])?;
    let append = format!("{arguments} {EMULATED}");
    machine(cx, 2, Some(Firmware::Kernel { kernel, initrd, append }))
}

/// A machine behind a network of QEMU's own, from which the manager is reached; with UEFI, if nothing else is given.
fn machine(cx: &Cx, number: u8, firmware: Option<Firmware>) -> Result<QemuSpec> {
    let options = cx.machine(number)?;
    let is_uefi = firmware.is_none();
    let firmware = match firmware {
        Some(firmware) => firmware,
        None => {
            let host = PathBuf::from("/");
            let mut roots = options.qemu.iter().chain([&host]);
            let found = roots.find_map(|root| find_uefi(root).ok());
            found.context("there is no UEFI firmware (Debian's package ovmf)")?
        }
    };
    let program = Program::find(&options.qemu)?;
    let mut spec = QemuSpec::new(options.name.clone(), program, &options.folder, firmware);
    spec.lab = Some(cx.shared_lab());
    spec.extra = vec!["-uuid".to_owned(), qemu_uuid(number)];
    if is_uefi {
        let table = format!("type=11,value=io.systemd.stub.kernel-cmdline-extra={EMULATED}");
        spec.extra.extend(["-smbios".to_owned(), table]);
    }
    Ok(spec)
}
