//! A factory over a small image that nobody can boot.

use std::collections::BTreeMap;
use std::path::Path;

use corten_base::{Arch, Rng, Secret, version};
use corten_fleet_api::management::FactoryUrls;
use corten_image_builder::disk::{self, LINUX_DATA, META_SIZE, Partition};
use corten_image_builder::media::describe;
use corten_image_builder::{Flavour, Profile, uki};

use super::{Factory, Options};

/// Writes an image into a folder; images with other seeds are others. Gives its version.
pub(crate) fn image(folder: &Path, seed: &str) -> String {
    std::fs::create_dir_all(folder).expect("a folder");
    let profile = Profile::new(Flavour::Cloud, Arch::Amd64);
    let parts = uki::Parts {
        stub: stub(),
        linux: seed.repeat(50_000).into_bytes(),
        initrd: vec![b'i'; 300_000],
        cmdline: profile.cmdline(),
        os_release: profile.os_release(),
        uname: "6.12".to_owned(),
    };
    let unified = uki::assemble(parts.clone()).expect("assembled");
    let files =
        BTreeMap::from([("vmlinuz", parts.linux), ("initramfs.cpio", parts.initrd), ("corten.efi", unified)]);
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).expect("written");
    }
    let partitions = [("EFI", 40 << 20), ("META", META_SIZE)];
    let partitions =
        partitions.map(|(label, size)| Partition { label, kind: LINUX_DATA, size, contents: None });
    disk::write(&folder.join("disk.raw"), "test", &partitions).expect("a disk");
    describe(folder, &profile, b"boot loader", &partitions).expect("described");
    version::TAG.trim_start_matches('v').to_owned()
}

/// A factory with one image, and its version.
pub(crate) fn factory(folder: &Path, cache_max: u64) -> (Factory, String) {
    let version = image(&folder.join("image"), "k");
    let options = Options {
        images: vec![folder.join("image")],
        folder: folder.join("own"),
        cache_max,
        urls: FactoryUrls {
            images: "https://fleet:8080".to_owned(),
            network_boot: "http://fleet:8090".to_owned(),
        },
        key: Secret::new([7; 32]),
    };
    (Factory::open(options, Rng::seeded(1)).expect("opened"), version)
}

/// The smallest program that takes more sections: one of them, and room for headers.
fn stub() -> Vec<u8> {
    let mut image = vec![0_u8; 1536];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x80_u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x86, &1_u16.to_le_bytes());
    put(0x94, &240_u16.to_le_bytes());
    put(0x98, &0x020b_u16.to_le_bytes());
    put(0x98 + 32, &4096_u32.to_le_bytes());
    put(0x98 + 36, &512_u32.to_le_bytes());
    put(0x98 + 60, &1024_u32.to_le_bytes());
    let table = 0x98 + 240;
    put(table, b".text\0\0\0");
    for (index, number) in [100_u32, 4096, 512, 1024].into_iter().enumerate() {
        put(table + 8 + index * 4, &number.to_le_bytes());
    }
    image
}
