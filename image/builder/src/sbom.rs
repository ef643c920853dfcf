//! The bill of materials of an image, in SPDX 2.3 JSON.

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Name of the software.
    pub name: String,
    /// Exact version.
    pub version: String,
    /// SPDX licence expression, or `NOASSERTION`.
    pub licence: String,
    /// Package URL.
    pub source: String,
    /// SHA-256 of the archive or program, when there is one.
    pub sha256: Option<String>,
}

/// The document; its namespace is the hash of its rows, so that equal images have equal documents.
///
/// # Errors
/// Never in practice: the rows are plain text.
pub fn document(name: &str, mut rows: Vec<Row>) -> Result<Vec<u8>> {
    rows.sort();
    rows.dedup();
    let packages: Vec<Value> = rows.iter().enumerate().map(|(index, row)| package(index, row)).collect();
    let hash = hex::encode(Sha256::digest(serde_json::to_vec(&packages)?));
    let describes: Vec<Value> = packages
        .iter()
        .map(|package| json!({ "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": package["SPDXID"] }))
        .collect();
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://corten.dev/spdx/{name}-{hash}"),
        "creationInfo": { "created": "1970-01-01T00:00:00Z", "creators": ["Tool: corten-image-builder"] },
        "packages": packages,
        "relationships": describes,
    });
    Ok(serde_json::to_vec_pretty(&document)?)
}

fn package(index: usize, row: &Row) -> Value {
    let mut package = json!({
        "SPDXID": format!("SPDXRef-Package-{index}"),
        "name": row.name,
        "versionInfo": row.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": row.licence,
        "copyrightText": "NOASSERTION",
        "externalRefs": [{ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": row.source }],
    });
    if let Some(hash) = &row.sha256 {
        package["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": hash }]);
    }
    package
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_in_any_order_make_equal_documents() {
        let row = |name: &str| Row {
            name: name.to_owned(),
            version: "1".to_owned(),
            licence: "Apache-2.0".to_owned(),
            source: format!("pkg:generic/{name}@1"),
            sha256: Some("00".to_owned()),
        };
        let one = document("corten", vec![row("a"), row("b"), row("a")]).expect("document");
        let two = document("corten", vec![row("b"), row("a")]).expect("document");
        assert_eq!(one, two);
        let parsed: Value = serde_json::from_slice(&one).expect("JSON");
        assert_eq!(parsed["packages"].as_array().map(Vec::len), Some(2));
    }
}
