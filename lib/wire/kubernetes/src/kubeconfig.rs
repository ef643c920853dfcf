//! Kubeconfig files: reading any, writing our own.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use corten_base::Secret;
use serde_json::{Value, json};

use crate::client::{Auth, Config};
use crate::error::Error;

/// Largest file: kubeconfig, certificate, key or token.
const FILE: u64 = 1 << 20;

/// A kubeconfig as far as a client needs it: the cluster and user of its current context.
#[derive(Clone, Debug, Default)]
pub struct Kubeconfig {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the user.
    pub user: String,
    /// Name of the context.
    pub context: String,
    /// Namespace of the context; empty for none.
    pub namespace: String,
    /// `https://host:port`.
    pub server: String,
    /// Name that the server's certificate must carry; empty for the host.
    pub server_name: String,
    /// Certificate authorities.
    pub ca: Material,
    /// Client certificate.
    pub certificate: Material,
    /// Key of the client certificate.
    pub key: Material,
    /// Bearer token.
    pub token: Material,
}

/// Text that stands in the file, or in a file of its own.
#[derive(Clone, Debug, Default)]
pub enum Material {
    /// There is none.
    #[default]
    None,
    /// Here it is.
    Inline(Secret<Vec<u8>>),
    /// It is in this file, relative to the kubeconfig.
    File(PathBuf),
}

impl Material {
    /// Material that stands in the file.
    #[must_use]
    pub fn inline(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Inline(Secret::new(bytes.into()))
    }

    async fn load(&self, base: &Path) -> Result<Vec<u8>, Error> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::Inline(bytes) => Ok(bytes.reveal().clone()),
            Self::File(path) => read(&base.join(path)).await,
        }
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Config(format!("`{}`: {reason}", path.display()));
    let metadata = tokio::fs::metadata(path).await.map_err(|error| failed(error.to_string()))?;
    if metadata.len() > FILE {
        return Err(failed(format!("larger than {FILE} bytes")));
    }
    tokio::fs::read(path).await.map_err(|error| failed(error.to_string()))
}

impl Kubeconfig {
    /// Reads the current context of a kubeconfig.
    ///
    /// # Errors
    /// When it is not a kubeconfig, its context is incomplete, or it asks for what no machine does: another
    /// program for credentials, or trusting any server.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let documents = corten_config::yaml::parse(text).map_err(|error| Error::Config(error.to_string()))?;
        let [document] = documents.as_slice() else {
            return Err(Error::Config("a kubeconfig is one document".to_owned()));
        };
        let context_name = string(document, "current-context");
        let context = named(document, "contexts", &context_name, "context")?;
        let (cluster_name, user_name) = (string(context, "cluster"), string(context, "user"));
        let cluster = named(document, "clusters", &cluster_name, "cluster")?;
        let user = named(document, "users", &user_name, "user")?;
        if cluster.get("insecure-skip-tls-verify").and_then(Value::as_bool) == Some(true) {
            return Err(Error::Config("insecure-skip-tls-verify is not supported".to_owned()));
        }
        for method in ["exec", "auth-provider", "username"] {
            if user.get(method).is_some() {
                return Err(Error::Config(format!("user method `{method}` is not supported")));
            }
        }
        let token = match string(user, "token") {
            empty if empty.is_empty() => file(user, "tokenFile"),
            token => Material::inline(token),
        };
        Ok(Self {
            namespace: string(context, "namespace"),
            server: string(cluster, "server"),
            server_name: string(cluster, "tls-server-name"),
            ca: material(cluster, "certificate-authority")?,
            certificate: material(user, "client-certificate")?,
            key: material(user, "client-key")?,
            token,
            cluster: cluster_name,
            user: user_name,
            context: context_name,
        })
    }

    /// Reads a kubeconfig and everything that it points at.
    ///
    /// # Errors
    /// As [`Kubeconfig::parse`], and when a file cannot be read.
    pub async fn load(path: &Path) -> Result<Config, Error> {
        let bytes = read(path).await?;
        let text = String::from_utf8(bytes).map_err(|_| Error::Config("not text".to_owned()))?;
        Self::parse(&text)?.config(path.parent().unwrap_or(Path::new("/"))).await
    }

    /// What a client needs, with files read relative to `base`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn config(&self, base: &Path) -> Result<Config, Error> {
        let token = self.token.load(base).await?;
        let certificate = self.certificate.load(base).await?;
        let auth = if !certificate.is_empty() {
            Auth::Certificate { certificate, key: Secret::new(self.key.load(base).await?) }
        } else if token.is_empty() {
            Auth::None
        } else {
            let token =
                String::from_utf8(token).map_err(|_| Error::Config("the token is not text".to_owned()))?;
            Auth::Token(Secret::new(token.trim().to_owned()))
        };
        Ok(Config {
            server: self.server.clone(),
            ca: self.ca.load(base).await?,
            auth,
            server_name: Some(self.server_name.clone()).filter(|it| !it.is_empty()),
        })
    }

    /// The file's text. It holds the secrets in the clear.
    #[must_use]
    pub fn render(&self) -> Secret<String> {
        let mut cluster = json!({"server": self.server});
        put(&mut cluster, "tls-server-name", &self.server_name);
        put_material(&mut cluster, "certificate-authority", &self.ca);
        let mut user = json!({});
        put_material(&mut user, "client-certificate", &self.certificate);
        put_material(&mut user, "client-key", &self.key);
        match &self.token {
            Material::Inline(token) => put(&mut user, "token", &String::from_utf8_lossy(token.reveal())),
            Material::File(path) => put(&mut user, "tokenFile", &path.to_string_lossy()),
            Material::None => {}
        }
        let mut context = json!({"cluster": self.cluster, "user": self.user});
        put(&mut context, "namespace", &self.namespace);
        Secret::new(corten_config::yaml::render(&json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.cluster, "cluster": cluster}],
            "users": [{"name": self.user, "user": user}],
            "contexts": [{"context": context, "name": self.context}],
            "current-context": self.context,
        })))
    }
}

fn string(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn file(value: &Value, key: &str) -> Material {
    match string(value, key) {
        empty if empty.is_empty() => Material::None,
        path => Material::File(path.into()),
    }
}

/// `KEY-data` in base64, else the file named by `KEY`.
fn material(value: &Value, key: &str) -> Result<Material, Error> {
    let data = string(value, &format!("{key}-data"));
    if data.is_empty() {
        return Ok(file(value, key));
    }
    let text: String = data.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(text).map_err(|_| Error::Config(format!("{key}-data is not base64")))?;
    Ok(Material::inline(bytes))
}

/// The entry called `name` in a list of `{name, ENTRY}`.
fn named<'a>(document: &'a Value, list: &str, name: &str, entry: &str) -> Result<&'a Value, Error> {
    let items = document.get(list).and_then(Value::as_array);
    let found = items.and_then(|items| items.iter().find(|it| string(it, "name") == name));
    found
        .and_then(|it| it.get(entry))
        .filter(|it| it.is_object())
        .ok_or_else(|| Error::Config(format!("no entry `{name}` in {list}")))
}

fn put(object: &mut Value, key: &str, text: &str) {
    if !text.is_empty() {
        object[key] = Value::from(text);
    }
}

fn put_material(object: &mut Value, key: &str, material: &Material) {
    match material {
        Material::None => {}
        Material::Inline(bytes) => {
            object[format!("{key}-data")] = Value::from(STANDARD.encode(bytes.reveal()))
        }
        Material::File(path) => object[key] = Value::from(path.to_string_lossy().into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443', certificate-authority: ca.crt}}]
users: [{name: other, user: {}}, {name: u, user: {client-certificate-data: Yw==, client-key: /k}}]
contexts: [{name: x, context: {cluster: c, user: u, namespace: n}}]
current-context: x
";

    #[tokio::test]
    async fn reads_files_beside_it_and_writes_what_it_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), "ca").unwrap();
        let mut parsed = Kubeconfig::parse(TEXT).unwrap();
        assert!(matches!(&parsed.key, Material::File(path) if path == Path::new("/k")));
        parsed.key = Material::inline("k");
        let config = parsed.config(folder.path()).await.unwrap();
        assert_eq!((config.server.as_str(), config.ca.as_slice()), ("https://10.0.0.1:6443", &b"ca"[..]));
        let again = Kubeconfig::parse(parsed.render().reveal()).unwrap();
        assert_eq!(again.render().reveal(), parsed.render().reveal());
        assert_eq!((again.namespace.as_str(), again.context.as_str()), ("n", "x"));
        assert!(!format!("{again:?}").contains("Inline(["), "key material stays out of logs");
    }

    #[test]
    fn refuses_what_it_cannot_honour() {
        let exec = TEXT.replace("client-key: /k", "exec: {command: x}");
        let open = TEXT.replace("certificate-authority: ca.crt", "insecure-skip-tls-verify: true");
        let dangling = TEXT.replace("user: u,", "user: absent,");
        for (text, why) in
            [(exec, "exec"), (open, "insecure"), (dangling, "absent"), ("[]".into(), "contexts")]
        {
            let error = Kubeconfig::parse(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = Kubeconfig::parse(&String::from_utf8_lossy(bytes));
        });
    }
}
