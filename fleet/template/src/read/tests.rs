//! How templates are read.

use super::*;
use crate::loader::NoFiles;
use crate::testing::{EXAMPLE, FILES, Files, template};

fn findings(text: &str) -> String {
    documents("t.yaml", text, &NoFiles).1.to_string()
}

#[test]
fn every_field_of_the_language_is_read() {
    let (documents, findings) = documents("t.yaml", EXAMPLE, &Files::new(&FILES));
    assert_eq!(findings.to_string(), "");
    assert_eq!((documents.clusters.len(), documents.workers.len(), documents.machines.len()), (1, 1, 1));
    let cluster = &documents.clusters[0];
    assert!(cluster.features.disk_encryption && !cluster.features.enable_workload_proxy);
    assert_eq!(cluster.scope.patches[1].text(), Some("machine:\n  env: {}\n"));
    assert_eq!(cluster.scope.descriptors.labels["tier"].at, Position { line: 3, column: 10 });
    assert_eq!(documents.workers[0].update_strategy.as_ref().unwrap().max_parallelism, Some(3));
    assert!(documents.machines[0].is_locked());
}

#[test]
fn a_list_that_is_not_given_is_no_empty_list() {
    let machine = |args: &str| {
        let (documents, _) = documents("t.yaml", &format!("kind: Machine\nname: x\n{args}"), &NoFiles);
        documents.machines[0].scope.kernel_args.as_ref().map(|args| args.len())
    };
    assert_eq!(machine(""), None);
    assert_eq!(machine("kernelArgs: null\n"), None);
    assert_eq!(machine("kernelArgs: []\n"), Some(0));
    assert_eq!(machine("kernelArgs: [a]\n"), Some(1));
}

#[test]
fn unknown_fields_and_kinds_are_refused_with_the_nearest_one_and_their_place() {
    let text = "kind: Cluster\nname: a\nfeatures:\n  diskEncription: true\n---\nkind: Worker\n";
    let unknown = "features.diskEncription: unknown key; did you mean \"diskEncryption\"? (t.yaml:4:3)";
    let kind = "kind: \"Worker\" is no kind of document; did you mean Workers? (t.yaml:6:7)";
    assert_eq!(findings(text), format!("document Cluster/a: {unknown}\n{kind}"));
    assert!(findings("name: a\n").starts_with("kind: missing; expected one of Cluster, ControlPlane"));
    assert!(findings("- a\n").starts_with("a document must be a mapping, this is a list"));
    assert!(findings("kind: Cluster\nkind: Cluster\n").contains("is already set in line 1"));
    let text = "kind: Cluster\nname: a\nkubernetes: {manifests: [{name: x, mode: ful}]}\n";
    assert!(findings(text).contains("manifests[0].mode: \"ful\" is not one of full, one-time"));
}

#[test]
fn a_patch_is_a_mapping_a_list_of_documents_or_a_text() {
    let patch = |inline: &str| {
        let text = format!("kind: Machine\nname: x\npatches: [{{name: p, inline: {inline}}}]\n");
        let (documents, findings) = documents("t.yaml", &text, &NoFiles);
        let patch = documents.machines[0].scope.patches[0].text().map(str::to_owned);
        patch.ok_or_else(|| findings.to_string())
    };
    assert_eq!(patch("{b: 1, a: {}}").unwrap(), "a: {}\nb: 1\n");
    assert_eq!(patch("[{a: 1}, {b: 2}]").unwrap(), "a: 1\n---\nb: 2\n");
    assert_eq!(patch("'# kept\\'").unwrap(), "# kept\\");
    assert!(patch("7").unwrap_err().contains("patches[0].inline: expected a mapping, a list of mappings"));
    assert!(patch("[1]").is_err());
}

#[test]
fn a_class_gives_a_number_of_machines_or_all() {
    let size = |size: &str| {
        let text = format!("kind: Workers\nmachineClass: {{name: c, size: {size}}}\n");
        let (documents, findings) = documents("t.yaml", &text, &NoFiles);
        (documents.workers[0].class.as_ref().unwrap().size, findings.is_empty())
    };
    assert_eq!(size("3"), (Size::Count(3), true));
    for all in ["unlimited", "infinity", "∞"] {
        assert_eq!(size(all), (Size::Unlimited, true), "{all}");
    }
    assert_eq!(size("-1"), (Size::Count(0), false));
    assert_eq!(size("some"), (Size::Count(0), false));
}

#[test]
fn a_file_that_cannot_be_read_is_one_finding_with_the_place_of_its_name() {
    let text = EXAMPLE.replace("patches/a.yaml", "patches/b.yaml");
    let found = load("t.yaml", &text, &Files::new(&FILES)).unwrap_err().to_string();
    assert!(found.starts_with("document Cluster/prod: patches[1].file: \"patches/b.yaml\""), "{found}");
    assert!(found.ends_with("(t.yaml:14:12)"), "{found}");
    assert_eq!(found.lines().count(), 1, "{found}");
}

#[test]
fn reading_goes_on_after_a_wrong_document() {
    let text = "kind: Clustr\n---\nkind: ControlPlane\nname: x\n";
    let found = load("t.yaml", text, &NoFiles).unwrap_err().to_string();
    assert!(found.contains("did you mean Cluster?"), "{found}");
    assert!(found.contains("it is always named control-planes"), "{found}");
    assert!(!found.contains("there is no document of kind Cluster"), "{found}");
}

/// Templates come from repositories of strangers; whatever is in them, the result is a template or findings.
#[test]
fn any_text_is_read_or_refused() {
    bolero::check!().with_type::<(u8, String)>().for_each(|(kind, text)| {
        let kind = DocumentKind::ALL[usize::from(*kind) % DocumentKind::ALL.len()];
        let text = format!("kind: {}\n{text}", kind.name());
        if let Err(findings) = load("t.yaml", &text, &NoFiles) {
            assert!(!findings.is_empty());
        }
    });
}

#[test]
fn the_example_of_the_tests_keeps_all_rules() {
    assert_eq!(template(EXAMPLE).name(), "prod");
}
