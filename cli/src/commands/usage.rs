//! `usage`: space that files take.

use clap::Args;
use corten_api::machine::{DiskUsageInfo, DiskUsageRequest};

use super::list::ENTRIES_MAX;
use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::pernode::PerNode;
use crate::table::{Cell, Column, Row};
use crate::units;

/// Show how much space files and folders take.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten du -H -d 2 /var")]
pub struct Usage {
    /// Folders or files.
    #[arg(default_value = "/")]
    paths: Vec<String>,
    /// Show files too, not only folders.
    #[arg(short, long)]
    all: bool,
    /// How deep to show folders; 0 is the sum alone.
    #[arg(short, long, default_value_t = 1, value_name = "LEVELS", value_parser = clap::value_parser!(i32).range(0..))]
    depth: i32,
    /// Sizes for people.
    #[arg(short = 'H', long)]
    humanize: bool,
    /// Leave out what is smaller, or, if negative, what is larger.
    #[arg(short, long, default_value_t = 0, value_name = "BYTES", allow_negative_numbers = true)]
    threshold: i64,
}

/// A folder or file and its size.
pub struct Entry {
    info: DiskUsageInfo,
    is_humanized: bool,
}

impl Row for Entry {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("SIZE", "size", |e| {
            let size = u64::try_from(e.info.size).unwrap_or_default();
            Cell::new(if e.is_humanized { units::bytes(size) } else { size.to_string() }, size)
        }),
        Column::new("NAME", "name", |e| (&e.info.relative_name).into()),
    ];
}

impl Command for Usage {
    type Report = PerNode<Vec<Entry>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let usage = &self;
        let ask = |node: crate::connect::Node| async move {
            let mut entries = Vec::new();
            // The machine looks at the first path of a request only.
            for path in &usage.paths {
                entries.extend(usage.ask(cx, &node, path).await?);
            }
            Ok(entries)
        };
        Ok(cx.targets()?.each("measure the files on", ask).await)
    }
}

impl Usage {
    async fn ask(&self, cx: &Cx, node: &crate::connect::Node, path: &str) -> Result<Vec<Entry>, Cause> {
        let request = DiskUsageRequest {
            // As levels that are shown, the first of which is the sum.
            recursion_depth: self.depth.saturating_add(1),
            all: self.all,
            threshold: self.threshold,
            paths: vec![path.to_owned()],
        };
        let mut stream = node.client.machine().disk_usage(request).await?.into_inner();
        let mut entries = Vec::new();
        while let Some(info) = stream.message().await? {
            match info.error.as_str() {
                "" if entries.len() >= ENTRIES_MAX => {
                    return Err(format!("there are more than {ENTRIES_MAX} entries").into());
                }
                "" => entries.push(Entry { info, is_humanized: self.humanize }),
                error => cx.say(format!("{}: {}: {error}", node.name, info.name)),
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Report as _, pretty};

    #[test]
    fn table_and_data() {
        let entry = |name: &str, size| Entry {
            info: DiskUsageInfo { relative_name: name.into(), size, ..Default::default() },
            is_humanized: true,
        };
        let report =
            PerNode(vec![("10.5.0.2".into(), Ok(vec![entry("log", 4_096), entry(".", 12_345_678)]))]);
        crate::snapshot::check("usage", &(report.text() + &pretty(&report.data())));
    }
}
