//! `list`: files on machines.

use clap::{Args, ValueEnum};
use corten_api::machine::{FileInfo, ListRequest, list_request};
use serde_json::{Map, Value};

use crate::command::Command;
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::{Answer, PerNode};
use crate::table::{Cell, Column, Row, align, render};
use crate::{go_mode, units};

/// Most entries that are taken from one machine.
pub const ENTRIES_MAX: usize = 1_000_000;

/// List files.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten ls /var/log\n  corten ls -l -H /etc\n  corten ls -r -t f /system/state"
)]
pub struct List {
    /// Folder or file.
    #[arg(default_value = "/")]
    path: String,
    /// Show mode, owner, size and time.
    #[arg(short, long)]
    long: bool,
    /// Sizes and times for people.
    #[arg(short = 'H', long)]
    humanize: bool,
    /// Enter folders.
    #[arg(short, long)]
    recurse: bool,
    /// How deep to enter folders.
    #[arg(short, long, default_value_t = 1, value_name = "LEVELS")]
    depth: i32,
    /// Only entries of these types.
    #[arg(short = 't', long = "type", value_enum, value_delimiter = ',', value_name = "TYPE")]
    types: Vec<Type>,
}

/// Types of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    /// Regular file.
    F,
    /// Folder.
    D,
    /// Symbolic link.
    #[value(alias = "L")]
    L,
}

impl Type {
    fn wire(self) -> i32 {
        match self {
            Self::F => list_request::Type::Regular.into(),
            Self::D => list_request::Type::Directory.into(),
            Self::L => list_request::Type::Symlink.into(),
        }
    }
}

/// How much of each entry is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    Names,
    Long,
    Humanized,
}

/// A listing.
pub struct Listing {
    entries: Vec<Entry>,
    detail: Detail,
}

/// An entry with times already told.
pub struct Entry {
    info: FileInfo,
    modified: String,
    is_humanized: bool,
}

impl Entry {
    fn name(&self) -> String {
        match self.info.link.as_str() {
            "" => self.info.relative_name.clone(),
            link => format!("{} -> {link}", self.info.relative_name),
        }
    }

    fn size(&self) -> Cell {
        let size = u64::try_from(self.info.size).unwrap_or_default();
        Cell::new(if self.is_humanized { units::bytes(size) } else { size.to_string() }, size)
    }
}

/// The SELinux label of an entry.
fn label(info: &FileInfo) -> String {
    let found = info.xattrs.iter().find(|attribute| attribute.name == "security.selinux");
    let text = found.map(|attribute| String::from_utf8_lossy(&attribute.data).into_owned());
    text.unwrap_or_default().trim_end_matches('\0').to_owned()
}

impl Row for Entry {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("MODE", "mode", |e| go_mode::letters(e.info.mode).into()),
        Column::new("UID", "uid", |e| e.info.uid.into()),
        Column::new("GID", "gid", |e| e.info.gid.into()),
        Column::new("SIZE(B)", "size", Self::size),
        Column::new("LASTMOD", "modified", |e| Cell::new(e.modified.clone(), e.info.modified)),
        Column::new("LABEL", "label", |e| label(&e.info).into()),
        Column::new("NAME", "name", |e| Cell::new(e.name(), e.info.relative_name.clone())),
    ];
}

impl Answer for Listing {
    fn text(answers: &[(&str, &Self)]) -> String {
        if answers.iter().any(|(_, listing)| listing.detail != Detail::Names) {
            let rows =
                answers.iter().flat_map(|(node, listing)| listing.entries.iter().map(|entry| (*node, entry)));
            return render(rows);
        }
        let name = |node: &str, entry: &Entry| vec![node.to_owned(), entry.info.relative_name.clone()];
        let rows =
            answers.iter().flat_map(|(node, listing)| listing.entries.iter().map(|entry| name(node, entry)));
        align(&std::iter::once(vec!["NODE".to_owned(), "NAME".to_owned()]).chain(rows).collect::<Vec<_>>())
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        self.entries.iter().map(Row::data).collect()
    }
}

impl Command for List {
    type Report = PerNode<Listing>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let detail = match (self.long, self.humanize) {
            (_, true) => Detail::Humanized,
            (true, false) => Detail::Long,
            _ => Detail::Names,
        };
        let request = ListRequest {
            root: self.path,
            recurse: self.recurse || self.depth > 1,
            recursion_depth: if self.recurse && self.depth <= 1 { 0 } else { self.depth },
            types: self.types.into_iter().map(Type::wire).collect(),
            report_xattrs: detail != Detail::Names,
        };
        let ask = |node: crate::connect::Node| {
            let request = request.clone();
            async move {
                let mut stream = node.client.machine().list(request).await?.into_inner();
                let mut entries = Vec::new();
                while let Some(info) = stream.message().await? {
                    match info.error.as_str() {
                        "" if entries.len() >= ENTRIES_MAX => {
                            return Err(format!("there are more than {ENTRIES_MAX} entries").into());
                        }
                        "" => entries.push(entry(info, detail, cx)),
                        error => cx.say(format!("{}: {}: {error}", node.name, info.name)),
                    }
                }
                Ok(Listing { entries, detail })
            }
        };
        Ok(cx.targets()?.each("list the files on", ask).await)
    }
}

fn entry(info: FileInfo, detail: Detail, cx: &Cx) -> Entry {
    let is_humanized = detail == Detail::Humanized;
    let modified = match u64::try_from(info.modified) {
        Ok(seconds) if is_humanized => {
            units::relative(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds), cx.clock.now())
        }
        _ => units::listed(info.modified),
    };
    Entry { info, modified, is_humanized }
}

#[cfg(test)]
mod tests {
    use corten_base::{Clock, Rng};

    use super::*;
    use crate::command::{Report as _, pretty};

    fn listing(detail: Detail) -> PerNode<Listing> {
        let cx = Cx {
            globals: Default::default(),
            fleet: Default::default(),
            clock: Clock::fixed(1_790_086_400),
            rng: Rng::seeded(1),
        };
        let file = |name: &str, mode, size, link: &str| FileInfo {
            relative_name: name.into(),
            mode,
            size,
            link: link.into(),
            modified: 1_790_000_000,
            ..FileInfo::default()
        };
        let files = [
            file(".", 1 << 31 | 0o755, 60, ""),
            file("os-release", 1 << 27 | 0o777, 21, "../usr/lib/os-release"),
            file("hosts", 0o644, 123_456, ""),
        ];
        let entries = files.map(|info| entry(info, detail, &cx)).into();
        PerNode(vec![("10.5.0.2".into(), Ok(Listing { entries, detail }))])
    }

    #[test]
    fn names_details_and_data() {
        let long = listing(Detail::Long);
        let text = [
            listing(Detail::Names).text(),
            long.text(),
            listing(Detail::Humanized).text(),
            pretty(&long.data()),
        ];
        crate::snapshot::check("list", &text.join("\n"));
    }
}
