//! Makes schematics: for new media from what a user wishes, for a running machine from what it has (fleet.md 11.3).
//!
//! ```text
//! join arguments ─┐
//! Wish ───────────┴─compose──▶ Schematic of new media: join arguments first, extensions sorted, META slots of users
//! Schematic that runs ─┐
//! extensions, arguments┴─adjusted─▶ Schematic to install: its own protected arguments first, everything else kept
//! ```

use std::collections::{BTreeMap, BTreeSet};

use corten_config::node::Node;
use corten_config::{Problem, read};

use crate::read::SCHEMATIC_BYTES_MAX;
use crate::schematic::{Bootloader, Customization, MetaValue, Overlay, Schematic};

/// Slots of META that a user may fill: 10 holds the network configuration of the platform, 12 the labels of the
/// machine, 13 and 14 are for users.
pub const META_KEYS: [u8; 4] = [10, META_LABELS, 13, 14];
/// Most extensions that a user may wish.
pub const EXTENSIONS_MAX: usize = 256;
/// Most kernel arguments that a user may wish.
pub const KERNEL_ARGS_MAX: usize = 64;
/// Longest of them, bytes.
pub const KERNEL_ARG_BYTES_MAX: usize = 256;
/// Kernel arguments that tie a machine to its manager or hold its configuration: no change of a schematic takes them.
pub const PROTECTED_KERNEL_ARGS: [&str; 6] = [
    "siderolink.api",
    "talos.events.sink",
    "talos.logging.kernel",
    "talos.config",
    "talos.config.early",
    "talos.config.inline",
];

/// Slot of the labels.
const META_LABELS: u8 = 12;
/// The only key of the labels.
const LABELS_KEY: &str = "machineLabels";
/// What it was called once.
const OLD_LABELS_KEY: &str = "initialMachineLabels";
/// Longest name of an extension, bytes.
const EXTENSION_BYTES_MAX: usize = 128;

/// What a user wishes of new media.
#[derive(Clone, Default, PartialEq)]
pub struct Wish {
    /// Extensions, each as `organization/name`, in any order.
    pub extensions: Vec<String>,
    /// Kernel arguments, in order.
    pub kernel_args: Vec<String>,
    /// Values of META by their slot.
    pub meta: BTreeMap<u32, String>,
    /// What the board needs; empty for most.
    pub overlay: Overlay,
    /// How the image boots.
    pub bootloader: Bootloader,
    /// Machine configuration to put into the image, as text; empty for none.
    pub embedded_machine_configuration: String,
}

/// A wish that is not granted. No message contains the value of a kernel argument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// There are too many of them.
    #[error("{count} {what} are wished; an image has at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// No name of an extension.
    #[error("{0:?} is no extension; its name has an organization and a name, such as siderolabs/iscsi-tools")]
    Extension(String),
    /// No kernel argument.
    #[error(
        "the kernel argument {0:?} is empty, has control characters, or more than {most} bytes",
        most = KERNEL_ARG_BYTES_MAX
    )]
    KernelArg(String),
    /// A slot of META that is not for users.
    #[error("META slot {0} cannot be set; slots 10, 12, 13 and 14 can")]
    MetaKey(u32),
    /// Labels that machines would not understand.
    #[error("META slot 12 holds no labels: {0}")]
    Labels(String),
    /// Everything together is too long.
    #[error(
        "the schematic has {0} bytes and may have {most}; make the embedded configuration shorter",
        most = SCHEMATIC_BYTES_MAX
    )]
    TooLarge(usize),
}

/// The schematic of new media: the arguments by which machines join come before those of the user.
///
/// # Errors
/// When the wish has something that an image cannot or may not have.
pub fn compose(join: &[String], wish: Wish) -> Result<Schematic, WishError> {
    limit("extensions", wish.extensions.len(), EXTENSIONS_MAX)?;
    limit("kernel arguments", wish.kernel_args.len(), KERNEL_ARGS_MAX)?;
    if let Some(wrong) = wish.extensions.iter().find(|name| !is_extension(name)) {
        return Err(WishError::Extension(wrong.chars().take(EXTENSION_BYTES_MAX).collect()));
    }
    if let Some(wrong) = wish.kernel_args.iter().find(|argument| !is_kernel_arg(argument)) {
        return Err(WishError::KernelArg(name(wrong).chars().take(64).collect()));
    }
    let meta = wish.meta.into_iter().map(|(key, value)| meta_value(key, value)).collect::<Result<_, _>>()?;
    let schematic = Schematic {
        owner: String::new(),
        overlay: wish.overlay,
        customization: Customization {
            embedded_machine_configuration: wish.embedded_machine_configuration,
            extra_kernel_args: [join, wish.kernel_args.as_slice()].concat(),
            meta,
            official_extensions: merge_extensions([wish.extensions.as_slice()]),
            bootloader: wish.bootloader,
            ..Customization::default()
        },
    };
    let length = schematic.canonical().len();
    if length > SCHEMATIC_BYTES_MAX { Err(WishError::TooLarge(length)) } else { Ok(schematic) }
}

impl Schematic {
    /// The same with other extensions and kernel arguments. Protected arguments stay and come first; everything else
    /// of the image stays as it is.
    #[must_use]
    pub fn adjusted(&self, extensions: &[String], kernel_args: &[String]) -> Self {
        let current = &self.customization.extra_kernel_args;
        let mut schematic = self.clone();
        schematic.customization.official_extensions = merge_extensions([extensions]);
        schematic.customization.extra_kernel_args = merge_kernel_args(current, kernel_args);
        schematic
    }

    /// The kernel arguments that a user may change: those that are not protected, in order.
    #[must_use]
    pub fn user_kernel_args(&self) -> Vec<String> {
        let args = self.customization.extra_kernel_args.iter();
        args.filter(|argument| !is_protected(argument)).cloned().collect()
    }
}

/// Extensions of several lists: sorted, each once.
#[must_use]
pub fn merge_extensions<'a>(lists: impl IntoIterator<Item = &'a [String]>) -> Vec<String> {
    let all: BTreeSet<&String> = lists.into_iter().flatten().collect();
    all.into_iter().cloned().collect()
}

/// The protected ones of the current kernel arguments, then the wanted ones. A wanted one that is protected is left
/// out: who could set it could take a machine away from its manager.
#[must_use]
pub fn merge_kernel_args(current: &[String], wanted: &[String]) -> Vec<String> {
    let kept = current.iter().filter(|argument| is_protected(argument));
    kept.chain(wanted.iter().filter(|argument| !is_protected(argument))).cloned().collect()
}

/// Whether a kernel argument is one of [`PROTECTED_KERNEL_ARGS`].
#[must_use]
pub fn is_protected(argument: &str) -> bool {
    PROTECTED_KERNEL_ARGS.contains(&name(argument))
}

/// Name of a kernel argument.
fn name(argument: &str) -> &str {
    argument.split_once('=').map_or(argument, |(name, _)| name)
}

fn limit(what: &'static str, count: usize, most: usize) -> Result<(), WishError> {
    if count > most { Err(WishError::TooMany { what, count, most }) } else { Ok(()) }
}

fn is_extension(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
    let parts = text.split_once('/');
    text.len() <= EXTENSION_BYTES_MAX && parts.is_some_and(|(group, name)| is_part(group) && is_part(name))
}

fn is_kernel_arg(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= KERNEL_ARG_BYTES_MAX && !text.contains(char::is_control)
}

fn meta_value(key: u32, value: String) -> Result<MetaValue, WishError> {
    let known = u8::try_from(key).ok().filter(|key| META_KEYS.contains(key));
    let key = known.ok_or(WishError::MetaKey(key))?;
    if key == META_LABELS {
        check_labels(&value).map_err(WishError::Labels)?;
    }
    Ok(MetaValue { key, value })
}

/// Labels are a document with one key, a mapping from names to texts.
fn check_labels(text: &str) -> Result<(), String> {
    let documents = read::documents(text).map_err(|problem: Problem| problem.to_string())?;
    let map = match documents.as_slice() {
        [document] => document.as_map(),
        _ => None,
    };
    let expected = || format!("expected one YAML document with the key {LABELS_KEY}");
    let map = map.ok_or_else(expected)?;
    if map.get(OLD_LABELS_KEY).is_some() {
        return Err(format!("{OLD_LABELS_KEY} is the old name; write {LABELS_KEY}"));
    }
    let labels =
        map.get(LABELS_KEY).filter(|_| map.len() == 1).and_then(Node::as_map).ok_or_else(expected)?;
    match labels.iter().find(|label| label.value.as_scalar().is_none()) {
        Some(wrong) => Err(format!("the value of the label {:?} is a {}", wrong.key, wrong.value.describe())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn meta(key: u32, value: &str) -> Result<Schematic, WishError> {
        compose(&[], Wish { meta: BTreeMap::from([(key, value.to_owned())]), ..Wish::default() })
    }

    #[test]
    fn join_arguments_come_first_and_extensions_are_sorted_once_each() {
        let wish = Wish {
            extensions: texts(&["siderolabs/zfs", "siderolabs/gvisor", "siderolabs/zfs"]),
            kernel_args: texts(&["console=ttyS0", "a"]),
            ..Wish::default()
        };
        let schematic = compose(&texts(&["siderolink.api=grpc://m", "talos.events.sink=s"]), wish).unwrap();
        assert_eq!(
            schematic.customization.extra_kernel_args,
            texts(&["siderolink.api=grpc://m", "talos.events.sink=s", "console=ttyS0", "a"])
        );
        assert_eq!(
            schematic.customization.official_extensions,
            texts(&["siderolabs/gvisor", "siderolabs/zfs"])
        );
        assert_eq!(schematic.user_kernel_args(), texts(&["console=ttyS0", "a"]));
    }

    #[test]
    fn only_the_slots_of_users_can_be_set() {
        for key in [10, 13, 14] {
            assert_eq!(meta(key, "x").unwrap().customization.meta.len(), 1, "{key}");
        }
        for key in [0, 6, 11, 15, 16, 266] {
            assert_eq!(meta(key, "x"), Err(WishError::MetaKey(key)));
        }
    }

    #[test]
    fn labels_have_the_new_key_and_texts_only() {
        assert!(meta(12, "machineLabels:\n  rack: 7\n  zone: a\n").is_ok());
        for (text, message) in [
            ("initialMachineLabels: {a: b}", "is the old name; write machineLabels"),
            ("machineLabels: [a]", "expected one YAML document with the key machineLabels"),
            ("machineLabels: {a: b}\nmore: {}", "expected one YAML document"),
            ("machineLabels: {a: [b]}", "the value of the label \"a\" is a list"),
            ("a: [", "not YAML"),
            ("", "expected one YAML document"),
        ] {
            let error = meta(12, text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_machine_keeps_what_ties_it_to_its_manager() {
        let runs = Schematic::parse(
            "customization: {bootloader: grub, extraKernelArgs: [b, siderolink.api=grpc://m, talos.config=x]}",
        )
        .unwrap();
        let wanted = texts(&["c=2", "siderolink.api=grpc://evil", "talos.configx=1"]);
        let adjusted = runs.adjusted(&texts(&["siderolabs/zfs"]), &wanted);
        assert_eq!(
            adjusted.customization.extra_kernel_args,
            texts(&["siderolink.api=grpc://m", "talos.config=x", "c=2", "talos.configx=1"])
        );
        assert_eq!(adjusted.customization.bootloader, Bootloader::Grub);
        assert_eq!(adjusted.customization.official_extensions, texts(&["siderolabs/zfs"]));
        let same = adjusted.adjusted(&texts(&["siderolabs/zfs"]), &adjusted.user_kernel_args());
        assert_eq!(same.id(), adjusted.id());
    }

    #[test]
    fn wishes_have_bounds_and_errors_show_no_value() {
        let wish = |extensions: Vec<String>, kernel_args: Vec<String>| {
            compose(&[], Wish { extensions, kernel_args, ..Wish::default() }).unwrap_err().to_string()
        };
        assert!(wish(vec!["a/b".to_owned(); 257], Vec::new()).contains("at most 256"));
        assert!(wish(Vec::new(), vec!["a".to_owned(); 65]).contains("at most 64"));
        assert!(wish(texts(&["gvisor"]), Vec::new()).contains("\"gvisor\" is no extension"));
        let error = wish(Vec::new(), texts(&["secret=hunter2\n"]));
        assert!(error.contains("\"secret\"") && !error.contains("hunter2"), "{error}");
        let embedded = "x".repeat(SCHEMATIC_BYTES_MAX);
        let embedded = Wish { embedded_machine_configuration: embedded, ..Wish::default() };
        assert!(matches!(compose(&[], embedded), Err(WishError::TooLarge(_))));
    }

    #[test]
    fn any_labels_are_read_or_refused_without_panic() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = check_labels(text);
        });
    }
}
