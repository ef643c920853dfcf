//! What others wait for: that the manager serves, and where. And what people are told who start it first.
//!
//! ```text
//! addresses that were bound ─▶ Ready ─┬▶ --ready-file (JSON, whole or not at all)
//!                                     └▶ standard output: where it is, and the two commands that come next
//! ```

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use corten_base::fs::{Durability, write_atomic};
use serde_json::{Map, Value, json};

use crate::endpoints::is_local;

/// Who may read the file: it tells addresses and where a key is, not the key.
const MODE: u32 = 0o644;
/// What is told of a URL that leads to this host from nowhere else.
const ONE_HOST: &str = "\nOnly this host reaches this URL: machines and people elsewhere need \
                        --advertised-api-url, and --machine-api-advertised-url if that is another one.\n";

/// A manager that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What listens, by name, as it was bound.
    pub listeners: Vec<(&'static str, SocketAddr)>,
    /// URL of the API, as clients are told it.
    pub api_url: String,
    /// URL under which machines join, as they are told it.
    pub machine_api_url: String,
    /// Address of the manager in the tunnel.
    pub tunnel_address: Ipv6Addr,
    /// File with the key of the first service account, if the configuration wants one.
    pub key_file: Option<PathBuf>,
    /// Certificate of the manager's own authority, if it made one, which clients must trust.
    pub authority: Option<PathBuf>,
    /// This start made the store.
    pub is_first: bool,
}

impl Ready {
    /// Writes the file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_atomic(path, format!("{}\n", self.json()).as_bytes(), MODE, Durability::Volatile)
    }

    fn json(&self) -> Value {
        let listeners = self.listeners.iter().map(|(name, address)| ((*name).to_owned(), json!(address)));
        let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        json!({
            "pid": std::process::id(),
            "version": corten_base::version::CORTEN,
            "listeners": listeners.collect::<Map<String, Value>>(),
            "apiURL": self.api_url,
            "machineAPIURL": self.machine_api_url,
            "tunnelAddress": self.tunnel_address,
            "serviceAccountKeyFile": shown(&self.key_file),
            "authorityFile": shown(&self.authority),
            "firstStart": self.is_first,
        })
    }

    /// What is printed.
    pub fn text(&self) -> String {
        let listeners: Vec<String> =
            self.listeners.iter().map(|(name, address)| format!("{name} {address}")).collect();
        let mut text = format!("ready: {}\n", listeners.join(", "));
        if let (true, Some(key)) = (self.is_first, &self.key_file) {
            text += &format!("\nThe first administrator's key is in {}. What comes next:\n\n", key.display());
            text += &self.commands(key);
            if is_local(&self.api_url) {
                text += ONE_HOST;
            }
        }
        text
    }

    /// The two commands that come next: to be somebody, and to let the first machine in.
    fn commands(&self, key: &Path) -> String {
        let authority = self.authority.as_ref().map(|file| format!(" SSL_CERT_FILE={}", quoted(file)));
        let (url, key, authority) = (&self.api_url, quoted(key), authority.unwrap_or_default());
        let who = format!("OMNI_SERVICE_ACCOUNT_KEY=\"$(cat {key})\"");
        format!("  export OMNI_ENDPOINT={url} {who}{authority}\n  corten fleet jointoken kernel-args\n")
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if text.bytes().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(is_first: bool) -> Ready {
        Ready {
            listeners: vec![("api", SocketAddr::from(([127, 0, 0, 1], 8080)))],
            api_url: "http://localhost:8080".to_owned(),
            machine_api_url: "http://localhost:8090".to_owned(),
            tunnel_address: "fdae:41e4:649b:9303::1".parse().expect("an address"),
            key_file: Some(PathBuf::from("/srv/fleet/key")),
            authority: None,
            is_first,
        }
    }

    #[test]
    fn programs_find_where_everything_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ready.json");
        ready(true).write(&path).expect("written");
        let found: Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
        assert_eq!(found["listeners"]["api"], "127.0.0.1:8080");
        assert_eq!(found["tunnelAddress"], "fdae:41e4:649b:9303::1");
        assert_eq!(found["serviceAccountKeyFile"], "/srv/fleet/key");
        assert_eq!(found["pid"], std::process::id());
        assert!(found["authorityFile"].is_null() && found["firstStart"] == true);
    }

    #[test]
    fn people_are_told_two_commands_the_first_time() {
        let text = ready(true).text();
        assert!(text.starts_with("ready: api 127.0.0.1:8080\n"), "{text}");
        let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        let expected = [
            "export OMNI_ENDPOINT=http://localhost:8080 OMNI_SERVICE_ACCOUNT_KEY=\"$(cat /srv/fleet/key)\"",
            "corten fleet jointoken kernel-args",
        ];
        assert_eq!(commands, expected);
        assert!(text.contains("elsewhere need --advertised-api-url"), "{text}");
        let public = Ready { api_url: "https://fleet.example".to_owned(), ..ready(true) };
        assert!(!public.text().contains("elsewhere"), "{}", public.text());
        assert_eq!(ready(false).text(), "ready: api 127.0.0.1:8080\n");
        let own = Ready { authority: Some(PathBuf::from("/a b/ca.crt")), ..ready(true) };
        assert!(own.text().contains(" SSL_CERT_FILE='/a b/ca.crt'\n"), "{}", own.text());
    }
}
