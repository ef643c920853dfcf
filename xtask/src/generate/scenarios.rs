//! The page of the tests: the layers that `cargo xtask test` runs, and the scenarios of `cargo xtask e2e`.

use anyhow::Result;

use super::{code, table};
use crate::layers::{LAYERS, PARTS};

const HEAD: &str = "# Tests

`cargo xtask test` is what CI runs: all layers, weakest that can fail first; `cargo xtask test LAYER` runs one, or a
part of one.
";

const SCENARIOS: &str = "\n## Scenarios

Stories told from outside by clients that users have: `cargo xtask e2e NAME`. The first kind of machine is used unless
`--qemu` or `--container` is given.

";

/// The page.
pub(super) fn page() -> Result<String> {
    let layers = LAYERS.iter().chain(PARTS).map(|layer| [code(layer.name), layer.about.to_owned()]);
    let scenarios = corten_e2e::SCENARIOS.iter().map(|scenario| {
        let modes: Vec<&str> = scenario.modes.iter().map(|mode| mode.name()).collect();
        [code(scenario.name), modes.join(", "), scenario.about.to_owned()]
    });
    let layers = table(["layer", "what it runs"], layers);
    let scenarios = table(["scenario", "machines", "what it shows"], scenarios);
    Ok(format!("{HEAD}\n{layers}{SCENARIOS}{scenarios}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_on_the_page() {
        let page = page().unwrap();
        for scenario in corten_e2e::SCENARIOS {
            assert!(page.contains(&format!("| `{}` |", scenario.name)), "{}", scenario.name);
        }
    }
}
