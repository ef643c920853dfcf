//! What the configuration says and controllers read as resources: logins at image factories, and versions.
//!
//! ```text
//! registries.factories.* ─▶ ImageFactoryAuth (by host)      table of versions ─▶ TalosVersion, KubernetesVersion
//! ```

use std::collections::BTreeMap;

use corten_config::values::url;
use corten_fleet_resources::secrets::ImageFactoryAuth;
use corten_fleet_settings::{Factory, Registries, Settings};
use corten_resource::{State, StateError};

use crate::keep::keep;
use crate::versions::{Offer, Versions};

/// Owner of the logins; the name that the controller has in the field.
const OWNER: &str = "ImageFactoryAuthController";

/// Writes all of it.
///
/// # Errors
/// When the store refuses.
pub async fn publish(state: &State, settings: &Settings, versions: &Versions) -> Result<(), StateError> {
    let wanted = logins(&settings.registries);
    for (host, login) in &wanted {
        keep(state, OWNER, host, login.clone()).await?;
    }
    for stored in state.list::<ImageFactoryAuth>() {
        if stored.metadata.owner == OWNER && !wanted.contains_key(stored.id()) {
            state.remove::<ImageFactoryAuth>(OWNER, stored.id())?;
        }
    }
    let offer = Offer {
        has_pre_releases: settings.features.pre_release_versions,
        factory: &settings.registries.primary.url,
    };
    versions.publish(state, &offer).await
}

/// Logins by host, with the port where the URL has one, as machines know their registries.
fn logins(registries: &Registries) -> BTreeMap<String, ImageFactoryAuth> {
    let factories = std::iter::once(&registries.primary).chain(&registries.secondary);
    factories.filter_map(login).collect()
}

fn login(factory: &Factory) -> Option<(String, ImageFactoryAuth)> {
    let (username, password) = factory.credentials.as_ref()?;
    let url = url(&factory.url)?;
    let host = url.port.map_or_else(|| url.host.clone(), |port| format!("{}:{port}", url.host));
    Some((host, ImageFactoryAuth { username: username.clone(), password: password.reveal().clone() }))
}

#[cfg(test)]
mod tests {
    use corten_base::Secret;
    use corten_fleet_resources::upgrade::TalosVersion;
    use corten_resource::testing;

    use super::*;

    #[tokio::test]
    async fn logins_are_known_by_host_and_go_with_the_setting() {
        let state = testing::state(corten_fleet_resources::registry());
        let versions = Versions::load(&[]).expect("a table");
        let mut settings = Settings::default();
        let login = Some(("me".to_owned(), Secret::new("secret".to_owned())));
        settings.registries.primary.credentials.clone_from(&login);
        let url = "http://10.0.0.1:5000".to_owned();
        settings.registries.secondary = Some(Factory { url, pxe_url: None, credentials: login });
        publish(&state, &settings, &versions).await.expect("written");
        let hosts = || -> Vec<String> {
            state.list::<ImageFactoryAuth>().iter().map(|login| login.id().to_owned()).collect()
        };
        assert_eq!(hosts(), ["10.0.0.1:5000", "factory.talos.dev"]);
        settings.registries.secondary = None;
        publish(&state, &settings, &versions).await.expect("written");
        assert_eq!(hosts(), ["factory.talos.dev"]);
        assert!(!state.list::<TalosVersion>().is_empty());
    }
}
