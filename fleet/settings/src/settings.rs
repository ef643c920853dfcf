//! The settings as the manager sees them: typed, grouped as the file.
//!
//! Each group reads its values by their paths. That every row of the table ends up here is held by a test.

mod access;
mod operation;
mod services;
mod storage;
mod words;

pub use access::{Account, Auth, InitialServiceAccount};
pub use operation::{Audit, Factory, Features, Logs, MachineLogs, Media, Mirror, Registries};
pub use services::{
    Api, EmbeddedDiscoveryService, KubernetesProxy, Listener, LoadBalancer, LocalResourceService, MachineApi,
    Services, Siderolink, TlsFiles,
};
pub use storage::{EtcdBackup, EtcdStore, Storage};
pub use words::{JoinTokensMode, Level, StorageKind, TunnelStack};

use crate::values::Values;

/// The configuration of the manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which manager it is.
    pub account: Account,
    /// Where it listens, and what it tells about that.
    pub services: Services,
    /// Who may do what at first.
    pub auth: Auth,
    /// What is logged and kept.
    pub logs: Logs,
    /// Where resources are kept.
    pub storage: Storage,
    /// Backups of the clusters' etcd; none without a folder.
    pub etcd_backup: Option<EtcdBackup>,
    /// Where images come from.
    pub registries: Registries,
    /// What installation media are made from.
    pub media: Media,
    /// What is switched on.
    pub features: Features,
}

impl Settings {
    pub(crate) fn read(values: &Values) -> Self {
        let (services, media) = (Services::read(values), Media::read(values));
        Self {
            account: Account::read(values),
            auth: Auth::read(values),
            logs: Logs::read(values),
            storage: Storage::read(values),
            etcd_backup: EtcdBackup::read(values),
            registries: Registries::read(values, &services, &media),
            services,
            media,
            features: Features::read(values),
        }
    }
}

impl Default for Settings {
    /// What holds when nobody sets anything.
    fn default() -> Self {
        Self::read(&Values::initial())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use crate::table::{self, Setting, Support};
    use crate::values::Origin;

    /// A value that is not the default.
    fn other(setting: &Setting) -> &'static str {
        match setting.kind {
            Kind::List(Kind::Email) | Kind::Email => "a@b",
            Kind::List(Kind::Mirror) => "docker.io=http://10.0.0.1:5000",
            Kind::List(Kind::Path) => "/another",
            Kind::Text | Kind::Secret | Kind::Path | Kind::List(Kind::Text) => "another",
            Kind::Bool if setting.default == "true" => "false",
            Kind::Bool => "true",
            Kind::Integer(..) => "4711",
            Kind::Duration(_) => "47m11s",
            Kind::Endpoint | Kind::Addresses => "127.0.0.1:4711",
            Kind::Url(_) | Kind::List(_) => "https://another.example.org",
            Kind::OneOf(words) => words.iter().copied().find(|word| *word != setting.default).unwrap(),
            Kind::Mirror => unreachable!("only in lists"),
        }
    }

    /// Settings without which one takes no effect.
    fn companions(path: &'static str) -> Vec<(&'static str, &'static str)> {
        let (section, key) = path.rsplit_once('.').unwrap();
        let mut keys = match key {
            "certFile" if section.starts_with("services.") => vec!["keyFile"],
            "keyFile" if section.starts_with("services.") => vec!["certFile"],
            "username" => vec!["password"],
            "password" => vec!["username"],
            _ if section == "etcdBackup" && key != "localPath" => vec!["localPath"],
            _ => Vec::new(),
        };
        if section == "registries.factories.secondary" && key != "url" {
            keys.push("url");
        }
        let path = |key: &&str| table::setting(&format!("{section}.{key}")).unwrap();
        keys.iter().map(path).map(|setting| (setting.path, other(setting))).collect()
    }

    fn with(given: &[(&'static str, &str)]) -> Settings {
        let mut values = Values::initial();
        for &(path, text) in given {
            let value = table::setting(path).unwrap().read_texts(&[text]).unwrap();
            values.set(path, value, Origin::Flag(path));
        }
        Settings::read(&values)
    }

    #[test]
    fn every_setting_that_takes_effect_changes_something() {
        for setting in table::all_settings().filter(|setting| setting.support == Support::Effective) {
            let companions = companions(setting.path);
            let given = [companions.as_slice(), &[(setting.path, other(setting))]].concat();
            assert_ne!(with(&given), with(&companions), "{}", setting.path);
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_reference_where_ours_are_not_safer() {
        let settings = Settings::default();
        assert_eq!(settings.services.api.listener.endpoint.to_string(), "0.0.0.0:8080");
        assert_eq!(settings.services.siderolink.join_tokens_mode, JoinTokensMode::LegacyAllowed);
        assert_eq!(settings.storage.kind, StorageKind::Embedded);
        assert_eq!(settings.storage.path.to_string_lossy(), "_out/fleet.redb");
        assert_eq!(settings.storage.key_file.to_string_lossy(), "_out/fleet.key");
        assert_eq!(settings.logs.level, Level::Info);
        assert!(settings.services.embedded_discovery_service.is_some_and(|it| it.log_level == Level::Warn));
        assert!(settings.auth.initial_service_account.is_some() && settings.etcd_backup.is_none());
    }

    #[test]
    fn a_manager_that_makes_media_is_its_own_factory_unless_another_one_is_named() {
        let origin = || Origin::Flag("f");
        let mut values = Values::initial();
        assert_eq!(Settings::read(&values).registries.primary.url, "https://factory.talos.dev");
        values.set("media.images", crate::kind::Value::List(vec!["/images".to_owned()]), origin());
        let own = Settings::read(&values);
        assert_eq!(own.registries.primary.url, own.services.api.advertised_url);
        assert_eq!(own.registries.primary.pxe_url, Some(own.services.machine_api.advertised_url));
        let named = crate::kind::Value::Text("https://f.example".to_owned());
        values.set("registries.factories.primary.url", named, origin());
        assert_eq!(Settings::read(&values).registries.primary.url, "https://f.example");
    }
}
