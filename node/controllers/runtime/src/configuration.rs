//! The configuration in force, as the controllers of the running system read it.

use std::sync::Arc;

use corten_config::MachineView;
use corten_resource::Resource;
use corten_resources::config::MachineConfig;

/// What a configuration says; without one, what an empty one says. The error is for people.
pub fn view_of(config: Option<&Resource<MachineConfig>>) -> Result<Arc<MachineView>, String> {
    let Some(config) = config else { return Ok(Arc::default()) };
    match corten_config::load_cached(&config.spec.yaml) {
        Ok(config) => Ok(config.view()),
        Err(error) => Err(corten_base::chain(&error)),
    }
}
