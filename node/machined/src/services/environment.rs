//! The environment that the configuration gives to services.

use corten_resources::service::{Runner, ServiceSpec};

/// The service with more variables. Those that it has already are its own, and stay. Programs of ours, which have users
/// of their own, talk to nobody through a proxy and get none.
pub(super) fn with(mut spec: ServiceSpec, variables: &[String]) -> ServiceSpec {
    let own = match spec.runner {
        Runner::Process if spec.process.uid != 0 => return spec,
        Runner::Process => &mut spec.process.environment,
        Runner::Container => &mut spec.container.environment,
    };
    let name = |entry: &str| entry.split_once('=').map_or(entry, |(name, _)| name).to_owned();
    let names: Vec<String> = own.iter().map(|entry| name(entry)).collect();
    own.extend(variables.iter().filter(|entry| !names.contains(&name(entry))).cloned());
    spec
}

#[cfg(test)]
mod tests {
    use corten_resources::service::{ContainerRun, ProcessRun};

    use super::*;

    #[test]
    fn programs_of_others_get_what_they_do_not_have_themselves() {
        let variables = ["PATH=/evil".to_owned(), "HTTPS_PROXY=http://p:1".to_owned()];
        let process = |uid| ServiceSpec {
            process: ProcessRun { uid, environment: vec!["PATH=/usr/bin".into()], ..ProcessRun::default() },
            ..ServiceSpec::default()
        };
        assert_eq!(
            with(process(0), &variables).process.environment,
            ["PATH=/usr/bin", "HTTPS_PROXY=http://p:1"]
        );
        assert_eq!(with(process(50), &variables), process(50), "apid is ours");
        let container = ServiceSpec {
            runner: Runner::Container,
            container: ContainerRun::default(),
            ..ServiceSpec::default()
        };
        assert_eq!(with(container, &variables).container.environment, variables);
    }
}
