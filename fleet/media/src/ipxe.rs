//! The script that a machine runs which boots from the network (fleet.md 11.2).

use corten_fleet_schematic::{SchematicId, Target};

/// What a script is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script<'a> {
    /// URL where machines reach the factory.
    pub url: &'a str,
    /// What is in the medium.
    pub schematic: &'a SchematicId,
    /// Version, without `v`.
    pub version: &'a str,
    /// Kind of machine.
    pub target: &'a Target,
    /// The kernel's command line, without line ends.
    pub command_line: &'a str,
}

/// The script. Firmware that starts the kernel as an EFI program finds the initramfs by the name in its arguments.
pub(crate) fn script(parts: Script<'_>) -> String {
    let Script { url, schematic, version, target, command_line } = parts;
    let (arch, at) = (target.arch, format!("{url}/image/{schematic}/v{version}"));
    let initramfs = format!("initramfs-{arch}.xz");
    format!(
        "#!ipxe\n\
         imgfree\n\
         kernel {at}/kernel-{arch} {command_line} initrd={initramfs}\n\
         initrd {at}/{initramfs}\n\
         boot\n"
    )
}

#[cfg(test)]
mod tests {
    use corten_fleet_schematic::Schematic;

    use super::*;

    #[test]
    fn kernel_and_initramfs_are_of_the_same_schematic() {
        let id = Schematic::default().id();
        let script = script(Script {
            url: "http://10.0.0.1:8090",
            schematic: &id,
            version: "1.14.1",
            target: &"metal-arm64".parse().expect("a target"),
            command_line: "talos.platform=metal siderolink.api=grpc://m?jointoken=a",
        });
        let at = format!("http://10.0.0.1:8090/image/{id}/v1.14.1");
        let lines: Vec<&str> = script.lines().collect();
        assert_eq!((lines[0], lines[4], lines.len()), ("#!ipxe", "boot", 5));
        assert!(lines[2].starts_with(&format!("kernel {at}/kernel-arm64 talos.platform=metal ")), "{script}");
        assert!(lines[2].ends_with(" initrd=initramfs-arm64.xz"), "{script}");
        assert_eq!(lines[3], format!("initrd {at}/initramfs-arm64.xz"));
    }
}
