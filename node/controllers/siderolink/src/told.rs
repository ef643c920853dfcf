//! What the machine was told about its manager: by its configuration, and by the kernel's arguments.

use corten_config::view::Management;
use corten_resource::Resource;
use corten_resources::config::MachineConfig;

/// Values of one argument that are looked at.
const VALUES_MAX: usize = 16;

/// What the configuration says; one that does not parse never became a resource.
pub fn management(config: Option<&Resource<MachineConfig>>) -> Management {
    let parsed = config.and_then(|config| corten_config::load_cached(&config.spec.yaml).ok());
    parsed.map(|config| config.view().management.clone()).unwrap_or_default()
}

/// The values of an argument, in order; empty ones are none.
pub fn values<'a>(cmdline: &'a str, name: &str) -> Vec<&'a str> {
    let all = cmdline.split_ascii_whitespace();
    let values = all.filter_map(|argument| argument.strip_prefix(name)?.strip_prefix('='));
    values.filter(|value| !value.is_empty()).take(VALUES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_has_the_values_of_its_own_name_only() {
        let cmdline =
            "quiet siderolink.api=grpc://a?jointoken=b=c siderolink.api= siderolink.api.x=1 siderolink.api=d";
        assert_eq!(values(cmdline, "siderolink.api"), ["grpc://a?jointoken=b=c", "d"]);
    }
}
