//! Kubeconfigs whose requests go through the manager.
//!
//! ```text
//! MANAGER-CLUSTER            cluster and context
//! MANAGER-CLUSTER-IDENTITY   user: a token, or a log-in with `kubectl oidc-login` (kubelogin)
//! ```

use corten_base::Secret;
use corten_config::values::to_base64;
use corten_config::yaml;
use corten_fleet_api::management::{Grant, Login};
use serde_json::{Value, json};

use super::CredentialOptions;

/// Id of kubectl at the OpenID provider.
const CLIENT_ID: &str = "native";
/// Redirect that shows the code to the person.
const OUT_OF_BAND: &str = "urn:ietf:wg:oauth:2.0:oob";
/// Where kubelogin keeps tokens unless it is told.
const CACHE_FOLDER: &str = "~/.kube/cache/oidc-login";

/// Names of the entries of a kubeconfig.
pub(super) struct Names {
    /// Of cluster and context.
    pub(super) context: String,
    /// Of the user.
    pub(super) user: String,
}

impl Names {
    /// The names for a manager, one of its clusters, and somebody there.
    pub(super) fn new(manager: &str, cluster: &str, identity: &str) -> Self {
        let context = format!("{manager}-{cluster}");
        Self { user: format!("{context}-{identity}"), context }
    }
}

/// For a tool, which shows a token.
pub(super) fn tool(options: &CredentialOptions, names: &Names, token: &Secret<String>) -> Vec<u8> {
    file(options, names, &json!({ "token": token.reveal() }))
}

/// For a person, who logs in.
pub(super) fn person(options: &CredentialOptions, names: &Names, cluster: &str, login: &Login) -> Vec<u8> {
    let mut arguments = vec![
        "oidc-login".to_owned(),
        "get-token".to_owned(),
        format!("--oidc-issuer-url={}/oidc", options.api_url),
        format!("--oidc-client-id={CLIENT_ID}"),
        format!("--oidc-extra-scope=cluster:{cluster}"),
    ];
    arguments.extend(login.grant.map(|grant| format!("--grant-type={}", word(grant))));
    if login.grant == Some(Grant::AuthCodeKeyboard) {
        arguments.push(format!("--oidc-redirect-url={OUT_OF_BAND}"));
    }
    let folder = cache_folder(options, names, login);
    arguments.extend(folder.map(|folder| format!("--token-cache-dir={folder}")));
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "kubectl",
        "args": arguments,
        "env": null,
        "provideClusterInfo": false,
    });
    file(options, names, &json!({ "exec": exec }))
}

/// Where tokens are kept: what the person says counts before what the configuration says.
fn cache_folder(options: &CredentialOptions, names: &Names, login: &Login) -> Option<String> {
    let configured = || options.cache_folder.as_ref().map(|folder| folder.display().to_string());
    let said = Some(login.cache_folder.clone()).filter(|folder| !folder.is_empty());
    let folder = said.or_else(configured);
    if login.has_own_cache || options.has_own_cache {
        let folder = folder.unwrap_or_else(|| CACHE_FOLDER.to_owned());
        return Some(format!("{}/{}", folder.trim_end_matches('/'), names.context));
    }
    folder
}

const fn word(grant: Grant) -> &'static str {
    match grant {
        Grant::Auto => "auto",
        Grant::AuthCode => "authcode",
        Grant::AuthCodeKeyboard => "authcode-keyboard",
    }
}

fn file(options: &CredentialOptions, names: &Names, user: &Value) -> Vec<u8> {
    let mut cluster = json!({ "server": options.kubernetes_url });
    if !options.authorities.is_empty()
        && let Some(fields) = cluster.as_object_mut()
    {
        let authorities = Value::from(to_base64(&options.authorities));
        fields.insert("certificate-authority-data".to_owned(), authorities);
    }
    let Names { context, user: user_name } = names;
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": context, "cluster": cluster }],
        "users": [{ "name": user_name, "user": user }],
        "contexts": [{
            "name": context,
            "context": { "cluster": context, "namespace": "default", "user": user_name },
        }],
        "current-context": context,
    });
    yaml::render(&file).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> CredentialOptions {
        CredentialOptions {
            api_url: "https://fleet.example.org".to_owned(),
            kubernetes_url: "https://fleet.example.org:8095".to_owned(),
            ..CredentialOptions::default()
        }
    }

    fn names() -> Names {
        Names::new("steel", "prod", "kim@example.com")
    }

    fn read(file: Vec<u8>) -> Value {
        let text = String::from_utf8(file).expect("text");
        yaml::parse(&text).expect("YAML").remove(0)
    }

    fn arguments(options: &CredentialOptions, login: &Login) -> Vec<String> {
        let file = read(person(options, &names(), "prod", login));
        let all = file["users"][0]["user"]["exec"]["args"].as_array().cloned().expect("arguments");
        all.iter().skip(5).map(|argument| argument.as_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn the_names_say_manager_cluster_and_identity() {
        let trusting = CredentialOptions { authorities: b"pem".to_vec(), ..options() };
        let file = read(tool(&trusting, &names(), &Secret::new("t".to_owned())));
        assert_eq!(file["current-context"], "steel-prod");
        let user = json!({ "name": "steel-prod-kim@example.com", "user": { "token": "t" } });
        assert_eq!(file["users"][0], user);
        let server = "https://fleet.example.org:8095";
        let cluster = json!({ "server": server, "certificate-authority-data": "cGVt" });
        assert_eq!(file["clusters"][0], json!({ "name": "steel-prod", "cluster": cluster }));
        let context =
            json!({ "cluster": "steel-prod", "namespace": "default", "user": "steel-prod-kim@example.com" });
        assert_eq!(file["contexts"][0]["context"], context);
    }

    #[test]
    fn a_person_logs_in_for_the_cluster_as_they_like() {
        let file = read(person(&options(), &names(), "prod", &Login::default()));
        let exec = &file["users"][0]["user"]["exec"];
        assert_eq!(exec["command"], "kubectl");
        let expected = json!([
            "oidc-login",
            "get-token",
            "--oidc-issuer-url=https://fleet.example.org/oidc",
            "--oidc-client-id=native",
            "--oidc-extra-scope=cluster:prod",
        ]);
        assert_eq!(exec["args"], expected);
        let by_hand = Login { grant: Some(Grant::AuthCodeKeyboard), ..Login::default() };
        let expected = ["--grant-type=authcode-keyboard", "--oidc-redirect-url=urn:ietf:wg:oauth:2.0:oob"];
        assert_eq!(arguments(&options(), &by_hand), expected);
    }

    #[test]
    fn tokens_are_kept_where_the_person_says_or_else_the_configuration() {
        let configured = CredentialOptions { cache_folder: Some("/c".into()), ..options() };
        let said = Login { cache_folder: "/s/".to_owned(), ..Login::default() };
        let own = Login { has_own_cache: true, ..Login::default() };
        for (options, login, folder) in [
            (&configured, &Login::default(), "/c"),
            (&configured, &said, "/s/"),
            (&configured, &own, "/c/steel-prod"),
            (&options(), &own, "~/.kube/cache/oidc-login/steel-prod"),
        ] {
            assert_eq!(arguments(options, login), [format!("--token-cache-dir={folder}")]);
        }
        assert!(arguments(&options(), &Login::default()).is_empty());
    }
}
