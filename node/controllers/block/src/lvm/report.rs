//! What `lvm fullreport` says, in JSON: groups, physical and logical volumes.

use corten_resources::storage::{LvmLogicalVolumeStatus, LvmPhysicalVolumeStatus, LvmVolumeGroupStatus};
use serde_json::{Map, Value};

use crate::pretty;

/// Everything that LVM knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Groups.
    pub groups: Vec<LvmVolumeGroupStatus>,
    /// Physical volumes, also those in no group.
    pub physical: Vec<LvmPhysicalVolumeStatus>,
    /// Logical volumes, also parts of others.
    pub logical: Vec<LvmLogicalVolumeStatus>,
}

impl Report {
    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&LvmVolumeGroupStatus> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The physical volume on this device.
    pub fn on(&self, device: &str) -> Option<&LvmPhysicalVolumeStatus> {
        self.physical.iter().find(|volume| volume.device == device)
    }

    /// The logical volume of this name.
    pub fn volume(&self, group: &str, name: &str) -> Option<&LvmLogicalVolumeStatus> {
        self.logical.iter().find(|volume| volume.vg_name == group && volume.name == name)
    }
}

/// A size as LVM writes it; zero when it is none.
pub fn bytes(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// What can be read from a row.
trait Row: Sized {
    /// The columns that are asked for, in order.
    const COLUMNS: &'static [&'static str];

    /// From the texts of the columns.
    fn read(row: &Map<String, Value>) -> Self;
}

macro_rules! rows {
    ($kind:ident, $tags:literal, { $($column:literal => $field:ident,)* }, |$row:ident| $pretty:block) => {
        impl Row for $kind {
            const COLUMNS: &'static [&'static str] = &[$($column,)* $tags];

            fn read(texts: &Map<String, Value>) -> Self {
                let tags = text(texts, $tags);
                let tags = tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
                let mut $row = Self { $($field: text(texts, $column),)* tags, ..Self::default() };
                $pretty
                $row
            }
        }
    };
}

rows!(LvmVolumeGroupStatus, "vg_tags", {
    "vg_name" => name,
    "vg_uuid" => uuid,
    "vg_fmt" => format,
    "vg_permissions" => permissions,
    "vg_extendable" => extendable,
    "vg_exported" => exported,
    "vg_partial" => partial,
    "vg_allocation_policy" => allocation_policy,
    "vg_clustered" => clustered,
    "vg_shared" => shared,
    "vg_size" => size,
    "vg_free" => free,
    "vg_extent_size" => extent_size,
    "vg_extent_count" => extent_count,
    "vg_free_count" => free_extent_count,
    "max_lv" => max_lv,
    "max_pv" => max_pv,
    "lv_count" => lv_count,
    "pv_count" => pv_count,
    "snap_count" => snap_count,
    "vg_missing_pv_count" => missing_pv_count,
    "vg_seqno" => seq_no,
    "vg_lock_type" => lock_type,
    "vg_systemid" => system_id,
}, |row| {
    row.pretty_size = people(&row.size);
    row.pretty_free = people(&row.free);
});

rows!(LvmPhysicalVolumeStatus, "pv_tags", {
    "pv_name" => device,
    "vg_name" => vg_name,
    "pv_uuid" => uuid,
    "pv_fmt" => format,
    "pv_allocatable" => allocatable,
    "pv_exported" => exported,
    "pv_missing" => missing,
    "pv_in_use" => in_use,
    "pv_size" => size,
    "dev_size" => device_size,
    "pv_free" => free,
    "pv_used" => used,
    "pv_pe_count" => pe_count,
    "pv_pe_alloc_count" => pe_alloc_count,
    "pv_major" => major,
    "pv_minor" => minor,
}, |row| {
    row.pretty_size = people(&row.size);
    row.pretty_device_size = people(&row.device_size);
    row.pretty_free = people(&row.free);
});

rows!(LvmLogicalVolumeStatus, "lv_tags", {
    "lv_path" => path,
    "lv_dm_path" => dm_path,
    "lv_name" => name,
    "lv_full_name" => full_name,
    "vg_name" => vg_name,
    "lv_uuid" => uuid,
    "lv_layout" => layout,
    "lv_role" => role,
    "lv_permissions" => permissions,
    "lv_allocation_policy" => allocation_policy,
    "lv_allocation_locked" => allocation_locked,
    "lv_fixed_minor" => fixed_minor,
    "lv_active" => active,
    "lv_active_locally" => active_locally,
    "lv_active_remotely" => active_remotely,
    "lv_active_exclusively" => active_exclusively,
    "lv_suspended" => suspended,
    "lv_device_open" => device_open,
    "lv_skip_activation" => skip_activation,
    "lv_merging" => merging,
    "lv_converting" => converting,
    "lv_size" => size,
    "lv_metadata_size" => metadata_size,
    "lv_read_ahead" => read_ahead,
    "lv_kernel_major" => kernel_major,
    "lv_kernel_minor" => kernel_minor,
    "origin" => origin,
    "origin_size" => origin_size,
    "pool_lv" => pool_lv,
    "data_lv" => data_lv,
    "metadata_lv" => metadata_lv,
    "move_pv" => move_pv,
    "convert_lv" => convert_lv,
    "lv_when_full" => when_full,
}, |row| {
    row.pretty_size = people(&row.size);
});

fn people(size: &str) -> String {
    size.parse().map(pretty::size).unwrap_or_default()
}

fn text(row: &Map<String, Value>, column: &str) -> String {
    row.get(column).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What the program is told so that it reports this. Segments are in every full report; no one of them is asked for.
pub fn arguments() -> Vec<String> {
    let mut arguments = vec!["fullreport".to_owned(), "--all".to_owned()];
    arguments.extend(["--reportformat", "json", "--units", "b", "--nosuffix"].map(str::to_owned));
    let mut section = |name: &str, columns: &[&str]| {
        arguments.extend(["--configreport".to_owned(), name.to_owned(), "-o".to_owned(), columns.join(",")]);
    };
    section("vg", LvmVolumeGroupStatus::COLUMNS);
    section("pv", LvmPhysicalVolumeStatus::COLUMNS);
    section("lv", LvmLogicalVolumeStatus::COLUMNS);
    section("pvseg", &["pvseg_start"]);
    section("seg", &["seg_start"]);
    arguments
}

/// Reads a report.
///
/// # Errors
/// When it is no JSON.
pub fn parse(json: &[u8]) -> serde_json::Result<Report> {
    let whole: Value = serde_json::from_slice(json)?;
    let parts = whole.get("report").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut report = Report::default();
    for part in parts {
        report.groups.extend(rows(part, "vg"));
        report.physical.extend(rows(part, "pv"));
        report.logical.extend(rows(part, "lv"));
    }
    // With `--all` devices are listed that could become physical volumes.
    report.physical.retain(|volume: &LvmPhysicalVolumeStatus| !volume.uuid.is_empty());
    Ok(report)
}

fn rows<T: Row>(part: &Value, section: &str) -> Vec<T> {
    let rows = part.get(section).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    rows.iter().filter_map(Value::as_object).map(T::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As lvm 2.03 writes it: a group with a device, then a device that is in none.
    const SAMPLE: &str = r#"  {
      "report": [
          {
              "vg": [
                  {"vg_name":"vg0", "vg_uuid":"yt3cL4-49WT", "vg_size":"62914560", "vg_free":"58720256", "vg_tags":"one,two"}
              ]
              ,
              "pv": [
                  {"pv_name":"/dev/vdb", "vg_name":"vg0", "pv_uuid":"osfu9H", "pv_size":"62914560", "pv_major":"254", "pv_tags":""}
              ]
              ,
              "lv": [
                  {"lv_path":"/dev/vg0/data", "lv_name":"data", "lv_full_name":"vg0/data", "vg_name":"vg0", "lv_size":"4194304", "lv_active":"active"}
              ]
              ,
              "pvseg": [
                  {"pvseg_start":"0"}
              ]
          }
          ,
          {
              "pv": [
                  {"pv_name":"/dev/vdc", "vg_name":"", "pv_uuid":"96qDNJ", "pv_size":"67108864"},
                  {"pv_name":"/dev/vdd", "vg_name":"", "pv_uuid":"", "pv_size":"0"}
              ]
          }
      ]
  }"#;

    #[test]
    fn groups_and_volumes_are_read_with_their_words() {
        let report = parse(SAMPLE.as_bytes()).expect("a report");
        let group = report.group("vg0").expect("a group");
        assert_eq!((group.size.as_str(), group.pretty_size.as_str()), ("62914560", "63 MB"));
        assert_eq!(group.tags, ["one", "two"]);
        let devices: Vec<&str> = report.physical.iter().map(|volume| volume.device.as_str()).collect();
        assert_eq!(devices, ["/dev/vdb", "/dev/vdc"]);
        assert_eq!(report.on("/dev/vdb").map(|volume| volume.tags.len()), Some(0));
        let volume = report.volume("vg0", "data").expect("a volume");
        assert_eq!((bytes(&volume.size), volume.active.as_str()), (4 << 20, "active"));
        assert_eq!(report.volume("vg1", "data"), None);
    }

    #[test]
    fn every_fact_is_asked_for() {
        let asked = arguments().join(" ");
        assert!(
            asked.contains("--configreport vg -o vg_name,vg_uuid,")
                && asked.contains(",lv_when_full,lv_tags ")
        );
        let counts = [
            LvmVolumeGroupStatus::COLUMNS.len(),
            LvmPhysicalVolumeStatus::COLUMNS.len(),
            LvmLogicalVolumeStatus::COLUMNS.len(),
        ];
        assert_eq!(counts, [25, 17, 35]);
    }

    #[test]
    fn no_report_makes_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| drop(parse(bytes)));
        bolero::check!().with_type::<(u16, Vec<u8>)>().for_each(|(at, bytes)| {
            let mut json = SAMPLE.as_bytes().to_vec();
            for (index, byte) in bytes.iter().enumerate() {
                let length = json.len();
                json[(usize::from(*at) + index) % length] = *byte;
            }
            drop(parse(&json));
        });
    }
}
