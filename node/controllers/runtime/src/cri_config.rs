//! What the configuration says of the container runtime, as resources.
//!
//!     MachineConfig ──▶ RegistryConfigs, CustomizationConfigs, BaseRuntimeSpecConfigs

use corten_config::view::{Mirror, Pair, Registries, RegistryAuth as GivenAuth, RegistryTls as GivenTls};
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::cri::{
    BaseRuntimeSpecConfig, CustomizationConfig, RegistriesConfig, RegistryAuth, RegistryEndpoint,
    RegistryMirror, RegistryTls,
};
use corten_resources::secrets::CertificateAndKey;

use crate::cri_files::base_spec;

/// See the module.
pub struct CriConfiguration;

controller!(CriConfiguration, "cri.Configuration",
    inputs: [weak MachineConfig],
    outputs: [exclusive RegistriesConfig, exclusive CustomizationConfig, exclusive BaseRuntimeSpecConfig]);

impl Transform for CriConfiguration {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = view.get::<MachineConfig>(MachineConfig::ACTIVE);
        let view = match config.map(|config| corten_config::load_cached(&config.spec.yaml)) {
            Some(Ok(config)) => config.view(),
            Some(Err(error)) => return plan.failed(corten_base::chain(&error)),
            None => return plan,
        };
        let (registries, cri) = (&view.machine.registries, &view.machine.cri);
        plan.put(RegistriesConfig::ID, published(registries));
        for part in &cri.customizations {
            let content = part.content.reveal().clone();
            plan.put(part.name.as_str(), CustomizationConfig { content });
        }
        plan.put(BaseRuntimeSpecConfig::DEFAULT, BaseRuntimeSpecConfig { object: base_spec() });
        if !cri.runtime_overrides.is_empty() {
            let object = cri.runtime_overrides.clone();
            plan.put(BaseRuntimeSpecConfig::OVERRIDES, BaseRuntimeSpecConfig { object });
        }
        plan
    }
}

fn published(given: &Registries) -> RegistriesConfig {
    RegistriesConfig {
        mirrors: given.mirrors.iter().map(|(host, given)| (host.clone(), mirror(given))).collect(),
        auths: given.auths.iter().map(|(host, given)| (host.clone(), auth(given))).collect(),
        tls: given.tls.iter().map(|(host, given)| (host.clone(), tls(given))).collect(),
    }
}

fn mirror(given: &Mirror) -> RegistryMirror {
    let endpoints = given.endpoints.iter().map(|endpoint| RegistryEndpoint {
        endpoint: endpoint.url.clone(),
        override_path: endpoint.override_path,
    });
    RegistryMirror { endpoints: endpoints.collect(), skip_fallback: given.skip_fallback }
}

fn auth(given: &GivenAuth) -> RegistryAuth {
    RegistryAuth {
        username: given.username.clone(),
        password: given.password.reveal().clone(),
        auth: given.auth.reveal().clone(),
        identity_token: given.identity_token.reveal().clone(),
    }
}

fn tls(given: &GivenTls) -> RegistryTls {
    let pair = |pair: &Pair| CertificateAndKey { crt: pair.crt.clone(), key: pair.key.reveal().clone() };
    RegistryTls {
        client_identity: given.client_identity.as_ref().map(pair),
        ca: given.ca.clone(),
        insecure_skip_verify: given.insecure_skip_verify,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use corten_resource::testing::resource;

    use super::*;

    #[test]
    fn both_forms_of_registries_become_one_resource() {
        let yaml = "version: v1alpha1\nmachine:\n  type: worker\n  registries:\n    mirrors: {docker.io: {endpoints: ['http://m']}}\n    config: {ghcr.io: {auth: {username: u, password: hunter2}}}\n---\n\
            {apiVersion: v1alpha1, kind: RegistryAuthConfig, name: quay.io, identityToken: hunter3}\n---\n\
            {apiVersion: v1alpha1, kind: CRICustomizationConfig, name: metrics, content: '[metrics]'}\n---\n\
            {apiVersion: v1alpha1, kind: CRIBaseRuntimeSpecConfig, overrides: {hostname: x}}\n";
        let given = [resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.into() })];
        let plan = CriConfiguration.plan(&View::of(given, SystemTime::UNIX_EPOCH));
        let registries = plan.outputs::<RegistriesConfig>()[0];
        assert_eq!(registries.mirrors["docker.io"].endpoints[0].endpoint, "http://m");
        assert_eq!(registries.auths["ghcr.io"].password, "hunter2");
        assert_eq!(registries.auths["quay.io"].identity_token, "hunter3");
        assert!(!format!("{registries:?}").contains("hunter"));
        assert_eq!(plan.outputs::<CustomizationConfig>()[0].id(), "metrics");
        let specs: Vec<&str> = plan.outputs::<BaseRuntimeSpecConfig>().iter().map(|spec| spec.id()).collect();
        assert_eq!(specs, [BaseRuntimeSpecConfig::DEFAULT, BaseRuntimeSpecConfig::OVERRIDES]);
    }
}
