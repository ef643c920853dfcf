//! Rules of what is made of several disks.

use std::collections::HashMap;

use super::{Rules, Validation};
use crate::document::Document;
use crate::selector::VolumeSelector;
use crate::values::{self, SizeMax};

/// Longest name of an array, bytes: its members have no room for more.
const ARRAY_NAME_MAX: usize = 32;
/// Longest name of a group or volume of LVM, bytes, so that names of devices made of both stay short.
const LVM_NAME_MAX: usize = 63;
/// Names with these parts are LVM's own (lvm(8), "valid names").
const LVM_OWN_PARTS: [&str; 9] =
    ["_cdata", "_cmeta", "_corig", "_mimage", "_mlog", "_rimage", "_rmeta", "_tdata", "_tmeta"];
/// Names that begin with these are LVM's own.
const LVM_OWN_STARTS: [&str; 2] = ["snapshot", "pvmove"];

/// Rules of one document.
pub(super) fn document(rules: &mut Rules<'_>) {
    match rules.document.id.kind.as_str() {
        "RAIDArrayConfig" => {
            name(rules, ARRAY_NAME_MAX);
            selector(rules);
        }
        "LVMVolumeGroupConfig" => {
            name(rules, LVM_NAME_MAX);
            selector(rules);
        }
        "LVMLogicalVolumeConfig" => {
            name(rules, LVM_NAME_MAX);
            own_name(rules);
            layout(rules);
            provisioning(rules);
        }
        _ => {}
    }
}

/// Names of devices join those of group and volume by a dash, which may stand in both: `a-b` and `c`, `a` and `b-c`.
pub(super) fn between(documents: &[Document], out: &mut Validation) {
    let volumes = documents.iter().filter(|document| document.id.kind == "LVMLogicalVolumeConfig");
    let mut seen: HashMap<String, &Document> = HashMap::new();
    for document in volumes {
        let mut rules = Rules::new(document, out);
        let group = rules.text(&["provisioning", "volumeGroup"]).unwrap_or_default();
        let device = format!("{group}-{}", document.id.name);
        match seen.get(&device) {
            Some(first) => {
                let line = first.node.at.line;
                rules.refuse(&["name"], format!("{} in line {line} is called {device} as well", first.id));
            }
            None => drop(seen.insert(device, document)),
        }
    }
}

/// Letters, digits, dashes and underscores; a dash at the start would be an option of a program.
fn name(rules: &mut Rules<'_>, bytes_max: usize) {
    let name = rules.document.id.name.as_str();
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !is_plain || name.is_empty() || name.starts_with('-') || name.len() > bytes_max {
        let message =
            format!("{name:?} is not a name (letters, digits, - and _, not - first, up to {bytes_max})");
        rules.refuse(&["name"], message);
    }
}

fn own_name(rules: &mut Rules<'_>) {
    let name = rules.document.id.name.as_str();
    let has_part = LVM_OWN_PARTS.iter().any(|part| name.contains(part));
    if has_part || LVM_OWN_STARTS.iter().any(|start| name.starts_with(start)) {
        rules.refuse(&["name"], format!("{name:?} is a name that LVM gives to parts of volumes"));
    }
}

fn selector(rules: &mut Rules<'_>) {
    let keys = ["provisioning", "volumeSelector", "match"];
    match rules.text(&keys).map(VolumeSelector::parse) {
        None => rules.refuse(
            &keys,
            "missing; say which volumes it is made of, as in disk.transport == 'nvme' && !system_disk",
        ),
        Some(Err(error)) => rules.refuse(&keys, error.to_string()),
        Some(Ok(_)) => {}
    }
}

fn layout(rules: &mut Rules<'_>) {
    let layout = rules.text(&["type"]).unwrap_or("linear").to_owned();
    let number = |rules: &Rules<'_>, key: &str| rules.text(&[key]).and_then(|text| text.parse::<u64>().ok());
    for (key, layouts, least) in [("mirrors", ["raid1", "raid10"], 1), ("stripes", ["raid0", "raid10"], 2)] {
        match number(rules, key) {
            None => {}
            Some(_) if !layouts.contains(&layout.as_str()) => {
                rules.refuse(&[key], format!("not allowed for {layout}; {} have it", layouts.join(" and ")));
            }
            Some(number) if number < least => rules.refuse(&[key], format!("less than {least}")),
            Some(_) => {}
        }
    }
}

fn provisioning(rules: &mut Rules<'_>) {
    if rules.text(&["provisioning", "volumeGroup"]).is_none() {
        rules.refuse(&["provisioning", "volumeGroup"], "missing; name the group that it is made in");
    }
    let least = rules.text(&["provisioning", "minSize"]).and_then(values::size);
    let keys = ["provisioning", "maxSize"];
    let Some(text) = rules.text(&keys) else {
        return rules.refuse(&keys, "missing; say how large it is, such as 50GiB or 80% of the group");
    };
    match values::size_max(text) {
        Some(SizeMax::Bytes(0)) => rules.refuse(&keys, "nothing"),
        Some(SizeMax::Bytes(most)) if least.is_some_and(|least| least > most) => {
            rules.refuse(&keys, "less than minSize");
        }
        Some(SizeMax::Bytes(_) | SizeMax::Percent(_)) => {}
        Some(SizeMax::Free(_)) | None => {
            rules.refuse(&keys, format!("{text:?} is not a size such as 50GiB or 80% of the group"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, Target};

    fn all_problems(text: &str) -> Vec<String> {
        match Config::check(text.as_bytes(), Target::Installed) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.in_file("p.yaml"),
        }
    }

    /// The problems of a document of this kind.
    fn problems(kind: &str, fields: &str) -> Vec<String> {
        all_problems(&format!("apiVersion: v1alpha1\nkind: {kind}\n{fields}\n"))
    }

    const SELECTOR: &str = "provisioning: {volumeSelector: {match: \"disk.size > 1u * GiB\"}}";

    #[test]
    fn arrays_and_groups_have_names_and_members() {
        for kind in ["RAIDArrayConfig", "LVMVolumeGroupConfig"] {
            assert_eq!(problems(kind, &format!("name: data_1-a\n{SELECTOR}")), Vec::<String>::new());
            for name in ["-data", "da.ta", "a/b"] {
                assert_eq!(problems(kind, &format!("name: \"{name}\"\n{SELECTOR}")).len(), 1, "{name}");
            }
            assert_eq!(problems(kind, "name: data").len(), 1, "nothing selects members");
            let wrong = "provisioning: {volumeSelector: {match: \"disk.sise > 1u\"}}";
            assert_eq!(problems(kind, &format!("name: data\n{wrong}")).len(), 1);
        }
        let long = "a".repeat(33);
        assert_eq!(problems("RAIDArrayConfig", &format!("name: {long}\n{SELECTOR}")).len(), 1);
        assert_eq!(problems("LVMVolumeGroupConfig", &format!("name: {long}\n{SELECTOR}")).len(), 0);
    }

    #[test]
    fn logical_volumes_have_a_group_a_size_and_what_their_layout_needs() {
        let check = |fields: &str, provisioning: &str, count: usize| {
            let fields = format!("name: data\n{fields}\nprovisioning: {provisioning}");
            let found = problems("LVMLogicalVolumeConfig", &fields);
            assert_eq!(found.len(), count, "{fields}: {found:?}");
        };
        let whole = "{volumeGroup: vg, maxSize: 80%}";
        check("type: raid10\nmirrors: 1\nstripes: 2", whole, 0);
        check("type: linear", "{volumeGroup: vg, minSize: 1GiB, maxSize: 1GiB}", 0);
        check("type: linear\nmirrors: 1", whole, 1);
        check("type: raid1\nmirrors: 0\nstripes: 2", whole, 2);
        check("type: raid0\nstripes: 1", whole, 1);
        check("type: linear", "{}", 2);
        check("type: linear", "{volumeGroup: vg, maxSize: -1GiB}", 1);
        check("type: linear", "{volumeGroup: vg, minSize: 2GiB, maxSize: 1GiB}", 1);
        assert_eq!(
            problems("LVMLogicalVolumeConfig", &format!("name: a_rimage_0\nprovisioning: {whole}")).len(),
            1
        );
    }

    #[test]
    fn no_two_volumes_share_a_device() {
        let volume = |name: &str, group: &str| {
            format!(
                "apiVersion: v1alpha1\nkind: LVMLogicalVolumeConfig\nname: {name}\nprovisioning: {{volumeGroup: {group}, maxSize: 1GiB}}\n"
            )
        };
        let text = format!("{}---\n{}---\n{}", volume("b-c", "a"), volume("c", "a-b"), volume("d", "a"));
        let found = all_problems(&text);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
