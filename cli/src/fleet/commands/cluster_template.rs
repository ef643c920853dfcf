//! `fleet cluster template`: clusters as files.
//!
//! ```text
//! file or folder ─▶ Template ─┬─ validate
//!                             ├─ render ─▶ resources
//!                             ├─ diff, sync, delete ─▶ Plan ─▶ told, carried out
//!                             └─ status
//! export ◀─ resources of the manager
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use corten_fleet_template::diff;
use corten_fleet_template::{
    ExportOptions, Findings, FolderLoader, Template as Model, export, load, plan, translate,
};
use corten_resource::AnyResource;

use super::apply::files;
use super::cluster_delete::Deleting;
use super::cluster_status::Watching;
use crate::command::{Command, Execute, verbs};
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::fleet::change::{Changes, Detail, Mode, Telling};
use crate::fleet::cluster::{actual, conflicts, delete};
use crate::machineconfig::{read_file, write_file};

/// Keep clusters as files say: cluster templates.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet cluster template validate -f home.yaml\n  corten fleet cluster template diff -f home.yaml\n  corten fleet cluster template sync -f home.yaml --verbose\n  corten fleet cluster template export -c home -o home.yaml"
)]
pub struct Template {
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    Delete(Delete),
    Diff(Diff),
    Export(Export),
    Render(Render),
    Status(Status),
    Sync(SyncTemplate),
    Validate(Validate),
}

impl Execute for Template {
    async fn execute(self, cx: &Cx) -> ExitCode {
        self.verb.execute(cx).await
    }
}

// Which templates are meant. A documentation comment would become the command's help.
#[derive(Args, Clone, Debug)]
pub struct Source {
    /// Template, or folder whose files that end with .yaml or .yml are templates.
    #[arg(short, long, value_name = "PATH")]
    file: PathBuf,
    /// Folder that the files named in templates must be below.
    #[arg(long, value_name = "FOLDER")]
    allowed_dir: Option<PathBuf>,
}

impl Source {
    /// The templates; all must be right.
    fn load(&self) -> Result<Vec<Model>, Failure> {
        let mut templates = Vec::new();
        let mut causes = Cause::default();
        for file in files(&self.file)? {
            match self.load_one(&file)? {
                Ok(template) => templates.push(template),
                Err(findings) => causes.lines.extend(findings.to_string().lines().map(str::to_owned)),
            }
        }
        if causes.lines.is_empty() {
            return Ok(templates);
        }
        Err(Failure::new(format!("`{}` is not a valid template", self.file.display())).because(causes))
    }

    fn load_one(&self, file: &Path) -> Result<Result<Model, Findings>, Failure> {
        let name = file.display().to_string();
        let object = format!("cannot use `{name}`");
        let text = String::from_utf8(read_file(file)?).map_err(|_| "it is not UTF-8").or_fail(&object)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let loader = FolderLoader::new(folder, self.allowed_dir.as_deref()).or_fail(object)?;
        Ok(load(&name, &text, &loader))
    }
}

/// Check templates without a manager.
#[derive(Args, Debug)]
pub struct Validate {
    #[command(flatten)]
    source: Source,
}

impl Command for Validate {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        for template in self.source.load()? {
            cx.say(format!("the template of {:?} is valid", template.name()));
        }
        Ok(())
    }
}

/// Print the resources that templates want, without a manager.
#[derive(Args, Debug)]
pub struct Render {
    #[command(flatten)]
    source: Source,
}

impl Command for Render {
    type Report = String;

    async fn run(self, _: &Cx) -> Result<String, Failure> {
        let templates = self.source.load()?;
        let resources: Vec<AnyResource> = templates.iter().flat_map(translate).collect();
        Ok(diff::render(&resources))
    }
}

/// Show what a sync would change, and change nothing.
#[derive(Args, Debug)]
pub struct Diff {
    #[command(flatten)]
    source: Source,
}

impl Command for Diff {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let templates = self.source.load()?;
        let manager = cx.manager().await?;
        sync(&Changes::new(cx, &manager, Mode::DryRun, Detail::Differences), &templates).await
    }
}

/// Make clusters as their templates say: create, change and delete what differs.
#[derive(Args, Debug)]
pub struct SyncTemplate {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    telling: Telling,
}

impl Command for SyncTemplate {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let templates = self.source.load()?;
        let manager = cx.manager().await?;
        sync(&self.telling.changes(cx, &manager), &templates).await
    }
}

async fn sync(changes: &Changes<'_>, templates: &[Model]) -> Result<(), Failure> {
    for template in templates {
        let cluster = template.name();
        let object = format!("cannot sync the template of {cluster:?}");
        let desired = translate(template);
        let actual = actual(changes.manager(), cluster, &desired).await.or_fail(&object)?;
        let plan = plan(cluster, &desired, &actual).map_err(conflicts).or_fail(&object)?;
        changes.carry_out(plan).await?;
    }
    Ok(())
}

/// Delete the clusters of templates, and wait until they are gone.
#[derive(Args, Debug)]
pub struct Delete {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    deleting: Deleting,
}

impl Command for Delete {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let templates = self.source.load()?;
        let manager = cx.manager().await?;
        let changes = self.deleting.telling.changes(cx, &manager);
        for template in &templates {
            delete(&changes, template.name(), self.deleting.disconnected()).await?;
        }
        Ok(())
    }
}

/// Show how the clusters of templates are, and wait until they are healthy.
#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    watching: Watching,
}

impl Command for Status {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let templates = self.source.load()?;
        let manager = cx.manager().await?;
        for template in &templates {
            self.watching.report(cx, &manager, template.name()).await?;
        }
        Ok(())
    }
}

/// Write the template of a cluster that there is.
#[derive(Args, Debug)]
pub struct Export {
    /// Name of the cluster.
    #[arg(value_name = "CLUSTER", required_unless_present = "cluster", conflicts_with = "cluster")]
    name: Option<String>,
    /// The same, for scripts that pass it.
    #[arg(short, long, value_name = "NAME")]
    cluster: Option<String>,
    /// File to write instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file.
    #[arg(short, long)]
    force: bool,
    /// Write kernel arguments of machines as well; a sync manages them from then on.
    #[arg(long)]
    include_kernel_args: bool,
}

impl Command for Export {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let cluster = self.name.or(self.cluster).unwrap_or_default();
        let object = format!("cannot export the cluster {cluster:?}");
        let manager = cx.manager().await?;
        let resources = actual(&manager, &cluster, &[]).await.or_fail(&object)?;
        let options = ExportOptions { include_kernel_args: self.include_kernel_args };
        let exported = export(&cluster, &resources, options);
        let exported = exported.map_err(|error| corten_base::chain(&error)).or_fail(&object)?;
        for left_out in &exported.left_out {
            cx.say(format!("warning: a template cannot express {left_out}; a sync would delete it"));
        }
        match self.output.filter(|output| output != Path::new("-")) {
            None => cx.print(exported.text),
            Some(output) => write_file(&output, &exported.text, self.force),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "kind: Cluster\nname: home\nkubernetes: {version: v1.34.1}\ntalos: {version: v1.11.2}\npatches: [{file: patch.yaml}]\n---\nkind: ControlPlane\nmachines: [aaaaaaaa-0000-4000-8000-000000000001]\n";

    #[test]
    fn templates_of_a_folder_are_loaded_and_their_files_are_beside_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        std::fs::create_dir(path.join("files")).expect("made");
        std::fs::write(path.join("home.yaml"), TEMPLATE.replace("patch.yaml", "files/patch.txt"))
            .expect("written");
        std::fs::write(path.join("files/patch.txt"), "machine: {}\n").expect("written");
        let source = |allowed: Option<PathBuf>| Source { file: path.to_owned(), allowed_dir: allowed };
        let templates = source(None).load().expect("valid");
        assert_eq!(templates.iter().map(Model::name).collect::<Vec<_>>(), ["home"]);
        assert!(source(Some(path.join("files"))).load().is_ok());
        std::fs::create_dir(path.join("other")).expect("made");
        let outside = source(Some(path.join("other"))).load().expect_err("refused").render();
        assert!(outside.contains("--allowed-dir"), "{outside}");
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("home.yaml");
        std::fs::write(&file, "kind: Cluster\nname: home\nversoin: 1\n").expect("written");
        let text = Source { file, allowed_dir: None }.load().expect_err("refused").render();
        assert!(text.matches("  cause: ").count() > 1 && text.contains("home.yaml:3:"), "{text}");
    }
}
