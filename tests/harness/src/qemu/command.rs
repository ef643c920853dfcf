//! The command line of QEMU. The flags were found by trial on emulated hardware; each says why where it is not plain.

use std::path::Path;

use super::{CONSOLE, Firmware, LAUNCHER_SOCKET, QMP_SOCKET, QemuSpec};

/// Arguments for a machine whose firmware variables, if any, are in `variables`.
pub fn arguments(spec: &QemuSpec, variables: &Path) -> Vec<String> {
    let mut arguments = Arguments(Vec::new());
    arguments.all("-nodefaults -no-user-config -display none -M q35");
    match spec.kvm {
        true => arguments.all("-accel kvm -cpu host"),
        // The largest translation cache that there is: a control plane's programs fill 700 MB, and each overflow
        // throws all away. Only what is filled takes memory.
        false => arguments.pair("-accel", "tcg,thread=multi,tb-size=2047").pair("-cpu", spec.program.cpu()),
    };
    arguments.pair("-smp", &spec.cpus.to_string()).pair("-m", &spec.memory_mib.to_string());
    if spec.ends_on_reboot {
        arguments.all("-no-reboot");
    }
    firmware(&mut arguments, spec, variables);
    let console = spec.folder.join(CONSOLE);
    arguments.pair("-chardev", &format!("file,id=console,path={},append=on", escape(&console)));
    arguments.pair("-serial", "chardev:console");
    for (name, socket) in [("tests", QMP_SOCKET), ("launcher", LAUNCHER_SOCKET)] {
        let path = escape(&spec.folder.join(socket));
        arguments.pair("-chardev", &format!("socket,id={name},path={path},server=on,wait=off"));
        arguments.pair("-mon", &format!("chardev={name},mode=control"));
    }
    for (number, disk) in spec.disks.iter().enumerate() {
        // Writing back is left to the host: a power cut of the guest loses nothing, a crash of the host may.
        let file = escape(disk);
        let drive = format!("id=disk{number},file={file},format=raw,if=none,cache=unsafe,discard=unmap");
        arguments.pair("-drive", &drive).pair("-device", &format!("virtio-blk-pci,drive=disk{number}"));
    }
    if let Some(image) = &spec.cdrom {
        let drive = format!("id=cd,file={},format=raw,if=none,media=cdrom,readonly=on", escape(image));
        arguments.pair("-drive", &drive).pair("-device", "ide-cd,drive=cd");
    }
    arguments.pair("-netdev", &network(spec)).pair("-device", &network_card(spec));
    arguments.pair("-device", "virtio-rng-pci");
    arguments.0.extend(spec.extra.iter().cloned());
    arguments.0
}

fn firmware(arguments: &mut Arguments, spec: &QemuSpec, variables: &Path) {
    match &spec.firmware {
        Firmware::Uefi { code, .. } => {
            let flash = |unit: u32, path: &Path, mode: &str| {
                format!("if=pflash,format=raw,unit={unit}{mode},file={}", escape(path))
            };
            arguments.pair("-drive", &flash(0, code, ",readonly=on"));
            arguments.pair("-drive", &flash(1, variables, ""));
        }
        Firmware::Kernel { kernel, initrd, append } => {
            arguments.pair("-kernel", &kernel.to_string_lossy());
            arguments.pair("-initrd", &initrd.to_string_lossy()).pair("-append", append);
        }
    }
}

/// A cable to the lab's bridge, for a machine that has an address there. Else a network of its own behind QEMU: in a
/// lab, which leads nowhere, it has a way out; elsewhere it is cut off from everything but the forwarded ports.
fn network(spec: &QemuSpec) -> String {
    if spec.address.is_some() {
        return format!("tap,id=net,ifname={},script=no,downscript=no", spec.link());
    }
    let forward = |forward: &crate::Forward| {
        format!(",hostfwd=tcp:127.0.0.1:{}-10.0.2.15:{}", forward.host_port, forward.machine_port)
    };
    let forwards: String = spec.forwards.iter().map(forward).collect();
    let restrict = if spec.lab.is_some() { "off" } else { "on" };
    format!("user,id=net,restrict={restrict}{forwards}")
}

/// On a bridge no two cards may have the same hardware address: there it follows from the machine's own.
fn network_card(spec: &QemuSpec) -> String {
    let card = "virtio-net-pci,netdev=net";
    let Some(address) = spec.address else { return card.to_owned() };
    let [a, b, c, d] = address.octets();
    format!("{card},mac=02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// QEMU's options are separated by commas; one in a value is doubled.
fn escape(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

struct Arguments(Vec<String>);

impl Arguments {
    fn all(&mut self, words: &str) -> &mut Self {
        self.0.extend(words.split(' ').map(str::to_owned));
        self
    }

    fn pair(&mut self, name: &str, value: &str) -> &mut Self {
        self.0.extend([name.to_owned(), value.to_owned()]);
        self
    }
}
