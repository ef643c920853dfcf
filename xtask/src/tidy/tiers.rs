//! Arrows between crates point down the tiers only.

use std::collections::BTreeMap;

use serde_json::Value;

/// Crates without a tier, and dependencies that point up.
pub(super) fn check(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let tiers: BTreeMap<&str, Option<u64>> =
        packages.iter().map(|package| (name(package), tier(package))).collect();
    let mut findings = Vec::new();
    for package in packages {
        let Some(own) = tier(package) else {
            findings.push(format!("{}: Cargo.toml names no tier (package.metadata.corten)", name(package)));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let is_test = dependency["kind"] == "dev";
            let below = tiers.get(name(dependency)).copied().flatten();
            if let Some(below) = below.filter(|below| *below > own && !is_test) {
                let (from, to) = (name(package), name(dependency));
                findings.push(format!("{from} (tier {own}) depends on {to} (tier {below})"));
            }
        }
    }
    findings
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

fn tier(package: &Value) -> Option<u64> {
    package["metadata"]["corten"]["tier"].as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_arrow_that_points_up_and_a_missing_tier_are_found() {
        let package = |name: &str, tier: Value, dependency: &str, kind: Value| {
            json!({ "name": name, "metadata": { "corten": { "tier": tier } },
                    "dependencies": [{ "name": dependency, "kind": kind }] })
        };
        let metadata = json!({ "packages": [
            package("low", 1.into(), "high", Value::Null),
            package("high", 2.into(), "low", Value::Null),
            package("tested", 1.into(), "high", "dev".into()),
            package("new", Value::Null, "low", Value::Null),
        ]});
        let findings = check(&metadata);
        assert_eq!(
            findings,
            [
                "low (tier 1) depends on high (tier 2)",
                "new: Cargo.toml names no tier (package.metadata.corten)"
            ]
        );
    }
}
