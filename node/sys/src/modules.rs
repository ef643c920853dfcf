//! Kernel modules: the indexes that depmod wrote, and loading with dependencies.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::failed;
use crate::{Error, Kernel, Result};

const MODULE_INIT_COMPRESSED_FILE: i32 = 4;

/// The modules of one kernel release, from `modules.dep`, `modules.alias`, `modules.builtin` and `modules.softdep`.
///
/// Names are normalized: `-` and `_` are the same letter to the kernel.
#[derive(Clone, Debug, Default)]
pub struct ModuleIndex {
    root: PathBuf,
    files: HashMap<String, Entry>,
    aliases: Vec<(String, String)>,
    builtin: HashSet<String>,
    soft_before: HashMap<String, Vec<String>>,
}

#[derive(Clone, Debug)]
struct Entry {
    path: String,
    dependencies: Vec<String>,
}

/// Loading and unloading.
pub trait Modules: Send + Sync {
    /// Loads one module file, without its dependencies.
    fn load_file(&self, path: &Path, parameters: &str) -> Result<Loaded>;
    /// Unloads a module.
    fn unload(&self, name: &str) -> Result<()>;
    /// Names of the loaded modules, normalized.
    fn loaded(&self) -> Result<BTreeSet<String>>;
}

/// Outcome of loading a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Now.
    Now,
    /// It was there already.
    Already,
}

impl ModuleIndex {
    /// Reads the indexes below `/lib/modules/RELEASE` (or another folder of that shape). Only `modules.dep` must exist.
    pub fn read(root: &Path) -> Result<Self> {
        let dep = root.join("modules.dep");
        let dep = std::fs::read_to_string(&dep).map_err(failed("read", dep.display()))?;
        let optional = |name: &str| std::fs::read_to_string(root.join(name)).unwrap_or_default();
        Ok(Self {
            root: root.to_owned(),
            files: parse_dep(&dep),
            aliases: parse_alias(&optional("modules.alias")),
            builtin: parse_builtin(&optional("modules.builtin")),
            soft_before: parse_softdep(&optional("modules.softdep")),
        })
    }

    /// Whether the name is compiled into the kernel.
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&normalize(name))
    }

    /// The module files for a name or an alias (such as a device's `modalias`), dependencies first, in loading order.
    /// Empty if everything is built in; an error if the name means nothing.
    pub fn resolve(&self, name_or_alias: &str) -> Result<Vec<PathBuf>> {
        let name = normalize(name_or_alias);
        if self.builtin.contains(&name) {
            return Ok(Vec::new());
        }
        let names = if self.files.contains_key(&name) { vec![name] } else { self.by_alias(name_or_alias) };
        if names.is_empty() {
            return Err(Error::new("find the kernel module", name_or_alias, std::io::ErrorKind::NotFound));
        }
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for name in names {
            self.visit(&name, &mut seen, &mut order);
        }
        Ok(order)
    }

    /// Names of the modules that claim an alias.
    pub fn by_alias(&self, alias: &str) -> Vec<String> {
        let found: BTreeSet<_> = self
            .aliases
            .iter()
            .filter(|(pattern, _)| matches_pattern(pattern.as_bytes(), alias.as_bytes()))
            .map(|(_, module)| module.clone())
            .collect();
        found.into_iter().collect()
    }

    fn visit(&self, name: &str, seen: &mut HashSet<String>, order: &mut Vec<PathBuf>) {
        if !seen.insert(name.to_owned()) {
            return;
        }
        let Some(entry) = self.files.get(name) else { return };
        for before in self.soft_before.get(name).into_iter().flatten() {
            self.visit(before, seen, order);
        }
        // modules.dep lists the nearest dependency first; loading goes the other way.
        for dependency in entry.dependencies.iter().rev() {
            self.visit(dependency, seen, order);
        }
        order.push(self.root.join(&entry.path));
    }
}

/// Loads a module by name or alias with everything it needs. Parameters go to the module itself.
pub fn load(modules: &dyn Modules, index: &ModuleIndex, name: &str, parameters: &str) -> Result<Loaded> {
    let files = index.resolve(name)?;
    let last = files.len().saturating_sub(1);
    let mut outcome = Loaded::Already;
    for (position, file) in files.iter().enumerate() {
        outcome = modules.load_file(file, if position == last { parameters } else { "" })?;
    }
    Ok(outcome)
}

impl Modules for Kernel {
    fn load_file(&self, path: &Path, parameters: &str) -> Result<Loaded> {
        let action = "load the kernel module";
        let file = File::open(path).map_err(failed(action, path.display()))?;
        let parameters = CString::new(parameters).map_err(failed(action, path.display()))?;
        let is_plain = path.extension().is_some_and(|extension| extension == "ko");
        let flags = if is_plain { 0 } else { MODULE_INIT_COMPRESSED_FILE };
        match rustix::system::finit_module(&file, &parameters, flags) {
            Ok(()) => Ok(Loaded::Now),
            Err(rustix::io::Errno::EXIST) => Ok(Loaded::Already),
            Err(errno) => Err(failed(action, path.display())(errno)),
        }
    }

    fn unload(&self, name: &str) -> Result<()> {
        let action = "unload the kernel module";
        let text = CString::new(normalize(name)).map_err(failed(action, name))?;
        rustix::system::delete_module(&text, libc::O_NONBLOCK).map_err(failed(action, name))
    }

    fn loaded(&self) -> Result<BTreeSet<String>> {
        let text = match std::fs::read_to_string("/proc/modules") {
            // A kernel without loadable modules has no such file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            result => result.map_err(failed("read", "/proc/modules"))?,
        };
        Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }
}

fn normalize(name: &str) -> String {
    name.replace('-', "_")
}

fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normalize(file.split_once(".ko").map_or(file, |(stem, _)| stem))
}

fn parse_dep(text: &str) -> HashMap<String, Entry> {
    let parse = |line: &str| {
        let (path, dependencies) = line.split_once(':')?;
        let dependencies = dependencies.split_whitespace().map(name_of).collect();
        Some((name_of(path), Entry { path: path.to_owned(), dependencies }))
    };
    text.lines().filter_map(parse).collect()
}

fn parse_alias(text: &str) -> Vec<(String, String)> {
    let parse = |line: &str| {
        let mut words = line.strip_prefix("alias ")?.split_whitespace();
        Some((words.next()?.to_owned(), normalize(words.next()?)))
    };
    text.lines().filter_map(parse).collect()
}

fn parse_builtin(text: &str) -> HashSet<String> {
    text.lines().filter(|line| !line.is_empty()).map(name_of).collect()
}

/// Only `pre:` dependencies are kept: `post:` ones are a wish that nothing here waits for.
fn parse_softdep(text: &str) -> HashMap<String, Vec<String>> {
    let parse = |line: &str| {
        let mut words = line.strip_prefix("softdep ")?.split_whitespace();
        let name = normalize(words.next()?);
        let before = words.skip_while(|word| *word != "pre:").skip(1).take_while(|word| *word != "post:");
        Some((name, before.map(normalize).collect()))
    };
    text.lines().filter_map(parse).collect()
}

/// Shell patterns as depmod writes them: `*`, `?` and `[…]` with ranges; `-` and `_` are the same letter.
fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            retry = Some((at + 1, position));
            at += 1;
            continue;
        }
        match (pattern.get(at..).and_then(next_element), text.get(position)) {
            (None, None) => return true,
            (Some((element, length)), Some(&byte)) if element_matches(element, byte) => {
                at += length;
                position += 1;
            }
            // Give the last star one more letter and try again.
            _ => match retry {
                Some((after_star, from)) if from < text.len() => {
                    retry = Some((after_star, from + 1));
                    (at, position) = (after_star, from + 1);
                }
                _ => return false,
            },
        }
    }
}

/// The first element of a pattern that is not a star, with its length.
fn next_element(pattern: &[u8]) -> Option<(&[u8], usize)> {
    let length = match pattern.first()? {
        b'[' => pattern.iter().position(|&byte| byte == b']').map_or(1, |end| end + 1),
        _ => 1,
    };
    Some((pattern.get(..length)?, length))
}

fn element_matches(element: &[u8], byte: u8) -> bool {
    let fold = |byte: u8| if byte == b'-' { b'_' } else { byte };
    match element {
        [b'?'] => true,
        [b'[', set @ .., b']'] => set_contains(set, byte),
        [letter] => fold(*letter) == fold(byte),
        _ => false,
    }
}

fn set_contains(mut set: &[u8], byte: u8) -> bool {
    loop {
        match set {
            [from, b'-', to, rest @ ..] => {
                if (*from..=*to).contains(&byte) {
                    return true;
                }
                set = rest;
            }
            [one, rest @ ..] => {
                if *one == byte {
                    return true;
                }
                set = rest;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    fn index() -> (tempfile::TempDir, ModuleIndex) {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "modules.dep",
            "kernel/fs/overlay.ko.xz:\nkernel/net/c.ko.xz: kernel/net/b.ko.xz kernel/net/a.ko.xz\n\
             kernel/net/b.ko.xz: kernel/net/a.ko.xz\nkernel/net/a.ko.xz:\nkernel/crypto/crc-t10.ko:\n\
             kernel/fs/ext4.ko.xz: kernel/net/a.ko.xz\n",
        );
        write("modules.alias", "# comment\nalias pci:v00001AF4d*sv*sd*bc*sc*i* c\nalias fs-ext4 ext4\n");
        write("modules.builtin", "kernel/drivers/virtio/virtio_pci.ko\n");
        write("modules.softdep", "# comment\nsoftdep ext4 pre: crc-t10 post: b\n");
        let index = ModuleIndex::read(dir.path()).unwrap();
        (dir, index)
    }

    fn names(files: &[PathBuf]) -> Vec<String> {
        files.iter().map(|file| name_of(&file.to_string_lossy())).collect()
    }

    #[test]
    fn dependencies_come_first() {
        let (_dir, index) = index();
        assert_eq!(names(&index.resolve("c").unwrap()), ["a", "b", "c"]);
        assert_eq!(names(&index.resolve("ext4").unwrap()), ["crc_t10", "a", "ext4"]);
        assert_eq!(names(&index.resolve("crc_t10").unwrap()), ["crc_t10"]);
    }

    #[test]
    fn aliases_and_builtins_resolve_and_the_unknown_is_an_error() {
        let (_dir, index) = index();
        let modalias = "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00";
        assert_eq!(names(&index.resolve(modalias).unwrap()), ["a", "b", "c"]);
        assert!(index.resolve("virtio-pci").unwrap().is_empty());
        assert!(index.is_builtin("virtio-pci"));
        assert!(index.resolve("nonsense").is_err());
    }

    #[derive(Default)]
    struct Recorder(Mutex<Vec<(String, String)>>);

    impl Modules for Recorder {
        fn load_file(&self, path: &Path, parameters: &str) -> Result<Loaded> {
            self.0.lock().unwrap().push((name_of(&path.to_string_lossy()), parameters.to_owned()));
            Ok(Loaded::Now)
        }
        fn unload(&self, _name: &str) -> Result<()> {
            Ok(())
        }
        fn loaded(&self) -> Result<BTreeSet<String>> {
            Ok(BTreeSet::new())
        }
    }

    #[test]
    fn parameters_go_to_the_module_itself() {
        let (_dir, index) = index();
        let recorder = Recorder::default();
        assert_eq!(load(&recorder, &index, "b", "x=1").unwrap(), Loaded::Now);
        let loads = recorder.0.into_inner().unwrap();
        assert_eq!(loads, [("a".into(), String::new()), ("b".into(), "x=1".into())]);
    }

    #[test]
    fn patterns() {
        let matches = |pattern: &str, text: &str| matches_pattern(pattern.as_bytes(), text.as_bytes());
        assert!(matches("a*c", "abbc") && matches("*", "") && matches("a?c", "abc"));
        assert!(matches("usb:d[0-3]x[AF]*", "usb:d2xF9") && !matches("usb:d[0-3]*", "usb:d4"));
        assert!(matches("a-b", "a_b") && !matches("a*c", "abb") && !matches("", "a") && !matches("a", ""));
        assert!(matches("*a*b*c", "xaybzc") && !matches("a[", "ab"));
    }

    proptest! {
        #[test]
        fn a_pattern_without_specials_matches_itself_and_a_star_matches_all(text in "[a-z0-9:]{0,30}") {
            prop_assert!(matches_pattern(text.as_bytes(), text.as_bytes()));
            prop_assert!(matches_pattern(b"*", text.as_bytes()));
        }
    }

    #[test]
    fn nothing_makes_the_parsers_panic_or_hang() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            parse_dep(&text);
            parse_alias(&text);
            parse_softdep(&text);
            let (pattern, rest) = bytes.split_at(bytes.len() / 2);
            matches_pattern(pattern, rest);
        });
    }
}
