//! A machine under test, of either kind, reached at ports of the host's loopback.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use corten_harness::qemu::storage::Recording;
use corten_harness::qemu::{Program, find_uefi};
use corten_harness::{
    Bind, ContainerMachine, ContainerSpec, Forward, LabSpec, Lifetime, Phase, QemuMachine, QemuSpec,
};
use rustix::fs::{SeekFrom as Place, seek};

/// Port of the machine API.
pub const API_PORT: u16 = 50_000;
/// Port of the Kubernetes API.
pub const KUBERNETES_PORT: u16 = 6443;
/// Where init finds what stands for the kernel's arguments on a container machine.
const COMMAND_LINE: &str = "CORTEN_CMDLINE";
/// The address that a QEMU machine gets from its network.
const QEMU_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// Kind of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Namespaces on this kernel.
    Container,
    /// An emulated computer.
    Qemu,
}

impl Mode {
    /// Name on the command line and in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Qemu => "qemu",
        }
    }

    /// Folder of the image that such a machine is made from, below `target/image`.
    #[must_use]
    pub const fn flavour(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Qemu => "cloud",
        }
    }

    /// How much longer than on bare metal everything may take.
    #[must_use]
    pub const fn pace(self) -> u32 {
        match self {
            Self::Container => 1,
            Self::Qemu => 12,
        }
    }
}

/// A machine to be.
#[derive(Clone, Debug)]
pub struct MachineOptions {
    /// Kind.
    pub mode: Mode,
    /// Name: lower-case letters, digits and dashes, at most 13.
    pub name: String,
    /// Folder with the image, as `cargo xtask image` leaves it.
    pub image: PathBuf,
    /// Folder of the machine itself; what is in it outlives the machine.
    pub folder: PathBuf,
    /// Port of the host that leads to the machine API.
    pub api_port: u16,
    /// Port of the host that leads to the Kubernetes API.
    pub kubernetes_port: u16,
    /// Third byte of a container machine's network.
    pub subnet: u8,
    /// The network that it shares with other machines and their manager; one of its own if absent.
    pub shared_lab: Option<LabSpec>,
    /// Its number in a shared network, from 2 on.
    pub number: u8,
    /// Folders with unpacked QEMU packages, tried before the host.
    pub qemu: Vec<PathBuf>,
    /// Memory of a QEMU machine.
    pub memory_mib: u32,
    /// CPUs of a QEMU machine.
    pub cpus: u32,
    /// Image that a container machine's disk begins as; without one it has folders of this host instead.
    pub disk_image: Option<PathBuf>,
    /// Size of the disk.
    pub disk_gib: u64,
    /// Whether KVM is used.
    pub kvm: bool,
    /// More disks of a QEMU machine, as they are.
    pub further_disks: Vec<PathBuf>,
    /// Further arguments of QEMU, such as devices.
    pub qemu_arguments: Vec<String>,
    /// Kernel arguments after those of the image. The stub of a QEMU machine takes them from the firmware's tables, a
    /// container machine from init's environment.
    pub kernel_arguments: Vec<String>,
    /// File in which everything that the machine writes to its disk is logged.
    pub record: Option<PathBuf>,
    /// How long the machine may live.
    pub lifetime: Lifetime,
    /// Where it is registered.
    pub registry: Option<PathBuf>,
}

impl MachineOptions {
    /// A machine with 2 CPUs, 2 GiB and an 8 GiB disk, owned by this program.
    #[must_use]
    pub fn new(mode: Mode, name: &str, image: PathBuf, folder: PathBuf) -> Self {
        Self {
            mode,
            name: name.to_owned(),
            image,
            folder,
            api_port: 22_000,
            kubernetes_port: 22_443,
            subnet: 40,
            shared_lab: None,
            number: 2,
            qemu: Vec::new(),
            memory_mib: 2048,
            cpus: 2,
            disk_image: None,
            disk_gib: 8,
            kvm: false,
            further_disks: Vec::new(),
            qemu_arguments: Vec::new(),
            kernel_arguments: Vec::new(),
            record: None,
            lifetime: Lifetime::Owned,
            registry: None,
        }
    }

    /// The machine's own address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        match self.mode {
            Mode::Container => self.lab().address(self.number),
            Mode::Qemu => self.plugged_in().unwrap_or(QEMU_ADDRESS),
        }
    }

    /// The machine's disk, if it has one.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk.raw")
    }

    /// The address of a QEMU machine that is plugged into a shared network.
    fn plugged_in(&self) -> Option<Ipv4Addr> {
        self.shared_lab.as_ref().map(|lab| lab.address(self.number))
    }

    /// The network around the machine.
    #[must_use]
    pub fn lab(&self) -> LabSpec {
        if let Some(lab) = &self.shared_lab {
            return lab.clone();
        }
        let mut lab = LabSpec::new(self.name.clone());
        lab.gateway = Ipv4Addr::new(10, 5, self.subnet, 1);
        lab
    }

    fn forwards(&self) -> Vec<Forward> {
        vec![
            Forward { host_port: self.api_port, machine_port: API_PORT },
            Forward { host_port: self.kubernetes_port, machine_port: KUBERNETES_PORT },
        ]
    }

    /// Switches the machine on. Its folder decides whether this is the first boot.
    pub fn start(&self) -> Result<Machine> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        match self.mode {
            Mode::Container => self.start_container(),
            Mode::Qemu => self.start_qemu(),
        }
    }

    /// Writes the image to the machine's disk; what was on it is gone.
    pub fn write_disk(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let image = self.disk_image.clone().unwrap_or_else(|| self.image.join("disk.raw"));
        write_disk(&image, &self.disk(), self.disk_gib)
    }

    fn start_container(&self) -> Result<Machine> {
        let rootfs = self.image.join("rootfs");
        ensure!(
            rootfs.is_dir(),
            "there is no image in {}: run `cargo xtask image container`",
            self.image.display()
        );
        let mut spec = ContainerSpec::new(self.name.clone(), rootfs, &self.folder, self.lab());
        spec.address = self.address();
        spec.forwards = self.forwards();
        spec.lifetime = self.lifetime;
        spec.registry = self.registry.clone();
        if !self.kernel_arguments.is_empty() {
            spec.env.insert(COMMAND_LINE.to_owned(), self.kernel_arguments.join(" "));
        }
        if self.disk_image.is_some() {
            if !self.disk().exists() {
                self.write_disk()?;
            }
            spec.disk = Some(self.disk());
        }
        if let Some(log) = &self.record {
            spec.record = Some(Recording { program: Program::find(&self.qemu)?, log: log.clone() });
        }
        let images = self.image.join("images");
        if self.disk_image.is_none() && images.is_dir() {
            let machine = corten_base::paths::IMAGE_CACHE.into();
            spec.binds.push(Bind { host: images.canonicalize()?, machine, read_only: true });
        }
        Ok(Machine::Container(ContainerMachine::start(spec)?))
    }

    fn start_qemu(&self) -> Result<Machine> {
        if !self.disk().exists() {
            self.write_disk()?;
        }
        let program = Program::find(&self.qemu)?;
        let host = Path::new("/").to_owned();
        let firmware = self.qemu.iter().chain([&host]).find_map(|root| find_uefi(root).ok());
        let firmware = firmware.context("there is no UEFI firmware (Debian's package ovmf)")?;
        let mut spec = QemuSpec::new(self.name.clone(), program, &self.folder, firmware);
        match &self.record {
            Some(log) => spec.extra = recording(&self.disk(), log)?,
            None => spec.disks = vec![self.disk()],
        }
        spec.disks.extend(self.further_disks.iter().cloned());
        spec.extra.extend(self.qemu_arguments.iter().cloned());
        spec.extra.extend(["-uuid".to_owned(), qemu_uuid(self.number)]);
        let mut arguments = self.kernel_arguments.clone();
        spec.address = self.plugged_in();
        if let Some((address, lab)) = spec.address.zip(self.shared_lab.as_ref()) {
            arguments.push(static_address(address, lab, &self.name));
        }
        if !self.kvm {
            arguments.extend(EMULATED.map(str::to_owned));
        }
        if !arguments.is_empty() {
            let arguments = arguments.join(" ").replace(',', ",,");
            let table = format!("type=11,value=io.systemd.stub.kernel-cmdline-extra={arguments}");
            spec.extra.extend(["-smbios".to_owned(), table]);
        }
        (spec.memory_mib, spec.cpus, spec.kvm) = (self.memory_mib, self.cpus, self.kvm);
        spec.forwards = self.forwards();
        spec.lab = Some(self.lab());
        spec.lifetime = self.lifetime;
        spec.registry = self.registry.clone();
        Ok(Machine::Qemu(QemuMachine::start(spec)?))
    }
}

/// What the firmware of a QEMU machine says that it is. QEMU itself gives every machine the same.
pub fn qemu_uuid(number: u8) -> String {
    format!("5ca1ab1e-0000-4000-8000-{number:012x}")
}

/// The kernel argument that gives a machine its address in a network that has no DHCP, and its name.
fn static_address(address: Ipv4Addr, lab: &LabSpec, name: &str) -> String {
    let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(lab.prefix_length)).unwrap_or_default());
    format!("ip={address}::{}:{mask}:{name}::off", lab.gateway)
}

/// Kernel arguments of an emulated machine, after the image's own. Nothing speculates there, and each entry into a
/// kernel with page tables of its own costs a flush of the whole emulated TLB: a fourth of the time to a Ready node.
const EMULATED: [&str; 2] = ["nopti", "mitigations=off"];

/// QEMU's arguments for a disk whose writes are logged.
fn recording(disk: &Path, log: &Path) -> Result<Vec<String>> {
    std::fs::File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
    let file = |name: &str, path: &Path| {
        let path = path.to_string_lossy().replace(',', ",,");
        ["-blockdev".to_owned(), format!("driver=file,node-name={name},filename={path}")]
    };
    let logged = "driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size=512";
    let mut arguments: Vec<String> = file("disk", disk).into_iter().chain(file("log", log)).collect();
    arguments.extend(["-blockdev", logged, "-device", "virtio-blk-pci,drive=logged"].map(str::to_owned));
    Ok(arguments)
}

/// Writes an image to a fresh disk. What is zero in the image takes no room.
fn write_disk(image: &Path, disk: &Path, gib: u64) -> Result<()> {
    ensure!(image.is_file(), "there is no {}: run `cargo xtask image cloud`", image.display());
    copy_sparse(image, disk).with_context(|| format!("cannot copy the image to {}", disk.display()))?;
    let file = std::fs::OpenOptions::new().write(true).open(disk)?;
    let size = (gib << 30).max(file.metadata()?.len());
    file.set_len(size).with_context(|| format!("cannot make {} larger", disk.display()))
}

/// Copies a file; what is a hole in it is one in the copy.
pub fn copy_sparse(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let mut source = std::fs::File::open(from)?;
    let mut target = std::fs::File::create(to)?;
    let size = source.metadata()?.len();
    let mut position = 0;
    // Behind the last data there is none, which is told as an error.
    while let Ok(start) = seek(&source, Place::Data(position)) {
        let end = seek(&source, Place::Hole(start))?;
        source.seek(SeekFrom::Start(start))?;
        target.seek(SeekFrom::Start(start))?;
        std::io::copy(&mut (&mut source).take(end - start), &mut target)?;
        position = end;
    }
    target.set_len(size)
}

/// A running machine.
#[derive(Debug)]
pub enum Machine {
    /// Namespaces on this kernel.
    Container(ContainerMachine),
    /// An emulated computer.
    Qemu(QemuMachine),
}

impl Machine {
    /// Fails if the machine runs no more.
    pub fn check(&self) -> Result<()> {
        let status = match self {
            Self::Container(machine) => machine.status()?,
            Self::Qemu(machine) => machine.status()?,
        };
        match status.phase {
            Phase::Running | Phase::Starting => Ok(()),
            Phase::Ended | Phase::Failed => bail!("the machine has ended: {}", status.message),
        }
    }

    /// Logs that tell what happened.
    #[must_use]
    pub fn evidence(&self) -> String {
        match self {
            Self::Container(machine) => machine.evidence(),
            Self::Qemu(machine) => machine.evidence(),
        }
    }

    /// How often it has booted, where the launcher can tell.
    pub fn boots(&self) -> Result<u32> {
        match self {
            Self::Container(machine) => Ok(machine.status()?.boots),
            Self::Qemu(machine) => Ok(machine.status()?.boots),
        }
    }

    /// The container machine that this is.
    pub fn container(&self) -> Result<&ContainerMachine> {
        match self {
            Self::Container(machine) => Ok(machine),
            Self::Qemu(_) => bail!("this needs a container machine"),
        }
    }

    /// The emulated machine that this is.
    pub fn qemu(&self) -> Result<&QemuMachine> {
        match self {
            Self::Qemu(machine) => Ok(machine),
            Self::Container(_) => bail!("this needs an emulated machine"),
        }
    }

    /// Leaves a detached machine running.
    pub fn leave(self) -> Result<()> {
        match self {
            Self::Container(machine) => machine.detach().map(drop),
            Self::Qemu(machine) => machine.detach().map(drop),
        }
    }

    /// Presses the power button, and takes the machine away after `grace` in any case.
    pub fn stop(self, grace: Duration) -> Result<()> {
        match self {
            Self::Container(machine) => machine.stop(grace),
            Self::Qemu(machine) => machine.stop(grace),
        }
    }

    /// Cuts the power.
    pub fn cut_power(self) -> Result<()> {
        match self {
            Self::Container(machine) => machine.cut_power(),
            Self::Qemu(machine) => machine.cut_power(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_a_shared_network_are_told_apart_by_their_number() {
        let mut options = MachineOptions::new(Mode::Qemu, "m", "/image".into(), "/machine".into());
        assert_eq!(options.address(), QEMU_ADDRESS);
        options.shared_lab = Some(LabSpec::new("fleet"));
        options.number = 3;
        assert_eq!((options.address(), options.lab().name.as_str()), (Ipv4Addr::new(10, 5, 0, 3), "fleet"));
        let argument = static_address(options.address(), &options.lab(), "m");
        assert_eq!(argument, "ip=10.5.0.3::10.5.0.1:255.255.255.0:m::off");
    }
}
