//! Puts schematics, images and the cache together.
//!
//! ```text
//! (schematic, version, name) ─▶ order ─▶ base ─▶ key ─▶ find ─┬─ there
//!                                                             └─ lane of one ─▶ find again ─▶ verify, write, hash
//! ```
//!
//! Whoever asks while the same medium is made waits for it, and finds it. A build goes on when nobody waits any more.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Lane, Rng, Secret, blocking};
use corten_fleet_api::management::FactoryUrls;
use corten_fleet_schematic::{Asset, Schematic, SchematicId, Target};
use corten_fleet_store::{SealError, Sealer};
use corten_image_builder::media::{
    self, Base, CHUNK, MediaError, Piece, Source, Xz, command_line, packed_max, plan, sources,
};
use parking_lot::Mutex;

use crate::bases::{Bases, BasesError};
use crate::cache::{Cache, Facts, Found};
use crate::hashed::Hashed;
use crate::ipxe::{Script, script};
use crate::order::{Order, network_boot, order};
use crate::schematics::Schematics;
use crate::trouble::{Cause, Trouble};

/// For reading and writing a schematic, and for opening a medium.
const DISK_DEADLINE: Duration = Duration::from_secs(10);
/// For the media that come first, and then for making one.
const MAKING_DEADLINE: Duration = Duration::from_secs(600);
/// Counts the forms of media: one that is made in another form is another one.
const FORM: &str = "1";
/// What a medium takes beside its bytes: ends of blocks.
const SLACK: u64 = 1 << 20;

/// What a factory is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folders of images, as `cargo xtask image` leaves them.
    pub images: Vec<PathBuf>,
    /// Its own folder: schematics, and media that were made.
    pub folder: PathBuf,
    /// Most bytes of the media that were made.
    pub cache_max: u64,
    /// Where it is reached.
    pub urls: FactoryUrls,
    /// Opens the schematics.
    pub key: Secret<[u8; 32]>,
}

/// A factory that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The images cannot be used.
    #[error(transparent)]
    Bases(#[from] BasesError),
    /// Its folder cannot be used.
    #[error("failed to open the folder of media {path}")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key is none.
    #[error("failed to open the schematics")]
    Key(#[from] SealError),
}

/// Makes and keeps media. Clones share everything.
#[derive(Clone, Debug)]
pub struct Factory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    urls: FactoryUrls,
    bases: Bases,
    schematics: Schematics,
    cache: Cache,
    lane: Lane,
    /// Files of images that were compared with their descriptions, by the fingerprint of the image.
    verified: Mutex<BTreeSet<(String, Source)>>,
}

impl Factory {
    /// Opens a factory. Blocks for the disk, which is fine before anything is served.
    ///
    /// # Errors
    /// When a folder cannot be used, or is none of an image.
    pub fn open(options: Options, rng: Rng) -> Result<Self, OpenError> {
        let Options { images, folder, cache_max, urls, key } = options;
        let failed = |source| OpenError::Folder { path: folder.clone(), source };
        let cache = Cache::open(&folder.join("cache"), cache_max).map_err(failed)?;
        let sealer = Sealer::new(&key, rng)?;
        let schematics = Schematics::open(&folder.join("schematics"), sealer).map_err(failed)?;
        let bases = Bases::open(&images, &folder.join("images.json"))?;
        let (lane, verified) = (Lane::new(1), Mutex::default());
        Ok(Self(Arc::new(Shared { urls, bases, schematics, cache, lane, verified })))
    }

    /// Where it is reached.
    pub(crate) fn reached_at(&self) -> &FactoryUrls {
        &self.0.urls
    }

    /// Its images.
    pub(crate) fn bases(&self) -> &Bases {
        &self.0.bases
    }

    /// Keeps a schematic for ever.
    pub(crate) async fn keep(&self, schematic: Schematic) -> Result<(), Cause> {
        let shared = Arc::clone(&self.0);
        let kept = blocking(DISK_DEADLINE, move || shared.schematics.keep(&schematic)).await;
        kept.map_err(|_| Cause::Busy)?
    }

    /// Keeps a schematic for a while.
    pub(crate) async fn post(&self, schematic: Schematic) -> Result<(), Cause> {
        let shared = Arc::clone(&self.0);
        let kept = blocking(DISK_DEADLINE, move || shared.schematics.post(&schematic)).await;
        kept.map_err(|_| Cause::Busy)?
    }

    /// The schematic with this id.
    pub(crate) async fn schematic(&self, id: &str) -> Result<Schematic, Cause> {
        let id: SchematicId = id.parse().map_err(|_| Cause::NoSchematic)?;
        let shared = Arc::clone(&self.0);
        let found = blocking(DISK_DEADLINE, move || shared.schematics.get(&id)).await;
        found.map_err(|_| Cause::Busy)?
    }

    /// A medium, open; made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) async fn medium(&self, id: &str, version: &str, name: &str) -> Result<Found, Trouble> {
        let found = self.find_or_make(id, version, name).await;
        found.map_err(|cause| trouble(id, version, name, cause))
    }

    /// The script for a kind of machine that boots from the network.
    ///
    /// # Errors
    /// When there is nothing that it could boot.
    pub(crate) async fn script(&self, id: &str, version: &str, name: &str) -> Result<String, Trouble> {
        let script = self.write_script(id, version, name).await;
        script.map_err(|cause| trouble(id, version, name, cause))
    }

    async fn find_or_make(&self, id: &str, version: &str, name: &str) -> Result<Found, Cause> {
        let asset: Asset = name.parse().map_err(wrong_name)?;
        let schematic = self.schematic(id).await?;
        let order = order(&asset, &schematic)?;
        let version = bare(version).to_owned();
        let base = self.0.bases.find(&version, order.arch, order.platform.as_deref())?;
        let key = key(id, name, base);
        let (shared, asked) = (Arc::clone(&self.0), key.clone());
        let found = blocking(DISK_DEADLINE, move || shared.cache.find(&asked)).await;
        if let Some(found) = found.map_err(|_| Cause::Busy)? {
            return Ok(found);
        }
        let (shared, file) = (Arc::clone(&self.0), name.to_owned());
        let make = move || match shared.cache.find(&key) {
            Some(found) => Ok(found),
            None => shared.make(&key, &order, &version, &file),
        };
        self.0.lane.run(MAKING_DEADLINE, make).await.map_err(|_| Cause::Busy)?
    }

    async fn write_script(&self, id: &str, version: &str, name: &str) -> Result<String, Cause> {
        let target: Target = name.parse().map_err(wrong_name)?;
        let schematic = self.schematic(id).await?;
        let order = network_boot(&target, &schematic)?;
        let version = bare(version);
        let base = self.0.bases.find(version, order.arch, order.platform.as_deref())?;
        // What a command line cannot tell is refused here, and not when the machine asks for its kernel.
        plan(base, order.medium, &order.additions)?;
        let command_line = command_line(base.manifest(), &order.additions.arguments)?;
        Ok(script(Script {
            url: &self.0.urls.network_boot,
            schematic: &schematic.id(),
            version,
            target: &target,
            command_line: &command_line,
        }))
    }
}

impl Shared {
    /// Makes a medium. Blocks for as long as that takes.
    fn make(&self, key: &str, order: &Order, version: &str, name: &str) -> Result<Found, Cause> {
        let base = self.bases.find(version, order.arch, order.platform.as_deref())?;
        let pieces = plan(base, order.medium, &order.additions)?;
        self.cache.make(key, bound(&pieces, order.is_packed), |file| {
            for source in sources(&pieces) {
                self.verify(base, source)?;
            }
            let (length, sha256) = written(&pieces, base, order.is_packed, file)?;
            tracing::info!(version, file = name, bytes = length, "made a medium");
            Ok(Facts { length, sha256, version: version.to_owned(), file: name.to_owned() })
        })
    }

    /// Compares a file of an image with its description, once.
    fn verify(&self, base: &Base, source: Source) -> Result<(), MediaError> {
        let name = (base.fingerprint().to_owned(), source);
        if !self.verified.lock().contains(&name) {
            base.verify(source)?;
            self.verified.lock().insert(name);
        }
        Ok(())
    }
}

/// Writes a medium; gives its length and hash.
fn written(pieces: &[Piece], base: &Base, is_packed: bool, file: &File) -> Result<(u64, String), MediaError> {
    let mut hashed = Hashed::new(file);
    if is_packed {
        let mut packed = Xz::new(&mut hashed).map_err(MediaError::Write)?;
        media::write(pieces, base, &mut packed)?;
        packed.finish().map_err(MediaError::Write)?;
    } else {
        media::write(pieces, base, &mut hashed)?;
    }
    hashed.finish().map_err(MediaError::Write)
}

/// Most bytes that a medium takes on the disk: zeros that it has by itself take none.
fn bound(pieces: &[Piece], is_packed: bool) -> u64 {
    let is_zero = |piece: &&Piece| matches!(piece, Piece::Zeros(_));
    let zeros: u64 = pieces.iter().filter(is_zero).map(Piece::length).sum();
    let others = media::length(pieces).saturating_sub(zeros).saturating_add(SLACK);
    if !is_packed {
        return others;
    }
    // Zeros take less than a sixty-fourth; where they begin or end, a chunk is none of zeros alone.
    let ends = pieces.len().saturating_mul(2 * CHUNK) as u64;
    packed_max(others.saturating_add(zeros / 64).saturating_add(ends))
}

/// Names a medium: what it is made of, and in which form.
fn key(id: &str, name: &str, base: &Base) -> String {
    let text = [id, name, base.fingerprint(), FORM].join("\0");
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}

/// A version without its `v`.
pub(crate) fn bare(version: &str) -> &str {
    version.strip_prefix('v').unwrap_or(version)
}

fn wrong_name(error: corten_fleet_schematic::AssetError) -> Cause {
    Cause::Name(error.to_string())
}

fn trouble(id: &str, version: &str, name: &str, cause: Cause) -> Trouble {
    let short = |text: &str| text.chars().take(128).collect::<String>();
    Trouble { schematic: short(id), version: short(version), file: short(name), cause }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
