//! Documents that `corten_config` knows by name only: they pass through a configuration as they are written.
//!
//! ```text
//! text ─cut─▶ known documents ─────▶ corten_config (strict, by the schema)
//!         └─▶ foreign documents ─merge─▶ Foreigners ─▶ text, text without secrets
//! ```
//!
//! The manager serves machines that understand more kinds than this code does. Without a schema lists grow, mappings
//! merge and scalars win, but for the few lists that the language replaces. A document that no other one touches keeps
//! its text.

use corten_config::schema::{self, LATER_KINDS};
use corten_config::{REDACTED, yaml};
use serde_json::{Map, Value};

/// Documents that say how a machine calls: they stand last, whole, in the words of the manager.
const JOIN_KINDS: [&str; 3] = ["SideroLinkConfig", "EventSinkConfig", "KmsgLogConfig"];

/// Key that gives an order instead of a value.
pub(crate) const DIRECTIVE: &str = "$patch";
/// The role that nothing in a cluster may have.
pub(crate) const FORBIDDEN_ROLE: &str = "os:admin";
/// The document that lets pods call the API of their machine.
const API_ACCESS: &str = "KubeTalosAPIAccessConfig";

/// Lists and mappings that take the place of the old ones.
const REPLACED: &[(&str, &[&str])] = &[
    ("BGPInstanceConfig", &["advertise", "importRoutes", "neighbors"]),
    ("KubeNetworkConfig", &["podSubnets", "serviceSubnets"]),
    ("KubeStaticPodConfig", &["pod"]),
    ("NetworkRuleConfig", &["ingress", "ports"]),
];

/// Ends of keys whose texts are secret, in lower case.
const SECRET_ENDS: &[&str] = &["auth", "key", "passphrase", "password", "secret", "token"];
/// Keys that only sound secret, in lower case.
const PUBLIC_KEYS: &[&str] = &["publickey"];
/// The join token in a URL, which ends at the next parameter.
const JOIN_TOKEN: &str = "jointoken=";

/// A document of a kind that has no schema here.
#[derive(Clone)]
pub(crate) struct Foreign {
    kind: String,
    name: String,
    value: Value,
    /// As it is written, with a line feed at its end.
    text: String,
}

/// A text in two parts.
#[derive(Default)]
pub(crate) struct Cut {
    /// What has a schema. Foreign documents are blank lines here, so that places in messages hold.
    pub known: String,
    /// What has none.
    pub foreign: Vec<Foreign>,
}

/// Takes the foreign documents out of a configuration or a patch.
pub(crate) fn cut(text: &str) -> Cut {
    let mut cut = Cut::default();
    let mut body = String::new();
    for line in text.split_inclusive('\n') {
        if is_separator(line) {
            cut.take(&body);
            body.clear();
            cut.known.push_str(line);
        } else {
            body.push_str(line);
        }
    }
    cut.take(&body);
    cut
}

/// Whether a line begins another document: nothing else may begin so.
fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

impl Cut {
    fn take(&mut self, body: &str) {
        match Foreign::read(body) {
            Some(document) => {
                self.known.extend(body.chars().filter(|character| *character == '\n'));
                self.foreign.push(document);
            }
            None => self.known.push_str(body),
        }
    }
}

impl Foreign {
    /// The document, if it is one, and of a kind that is known by name only.
    fn read(body: &str) -> Option<Self> {
        let documents = yaml::parse(body).ok()?;
        let [value] = documents.as_slice() else { return None };
        let kind = value.get("kind")?.as_str()?;
        let is_foreign = LATER_KINDS.contains(&kind) && schema::kind(kind).is_none();
        if !is_foreign && !JOIN_KINDS.contains(&kind) {
            return None;
        }
        let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{}\n", body.trim_end());
        Some(Self { kind: kind.to_owned(), name: name.to_owned(), value: value.clone(), text })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name
    }

    fn set(&mut self, value: Value) {
        self.text = yaml::render(&value);
        self.value = value;
    }
}

/// The foreign documents of a configuration, in order.
#[derive(Default)]
pub(crate) struct Foreigners(Vec<Foreign>);

impl Foreigners {
    /// Lays a document of a patch over the one of the same kind and name, or adds it.
    pub(crate) fn merge(&mut self, patch: Foreign) {
        if is_deletion(&patch.value) {
            self.0.retain(|document| !document.is_same(&patch));
            return;
        }
        match self.0.iter_mut().find(|document| document.is_same(&patch)) {
            Some(document) => {
                let mut value = document.value.clone();
                merge(&mut value, patch.value, replaced(&patch.kind));
                document.set(value);
            }
            None if patch.text.contains(DIRECTIVE) => {
                let mut document = patch;
                let value = stripped(document.value.clone());
                document.set(value);
                self.0.push(document);
            }
            None => self.0.push(patch),
        }
    }

    /// Puts a document last, instead of the one of the same kind and name.
    pub(crate) fn put_last(&mut self, document: Foreign) {
        self.0.retain(|other| !other.is_same(&document));
        self.0.push(document);
    }

    /// Takes the role that nothing may have away from pods; tells whether one had it.
    pub(crate) fn strip_role(&mut self) -> bool {
        let mut is_stripped = false;
        for document in self.0.iter_mut().filter(|document| document.kind == API_ACCESS) {
            let mut value = document.value.clone();
            let Some(Value::Array(roles)) = value.get_mut("allowedRoles") else { continue };
            let before = roles.len();
            roles.retain(|role| role.as_str() != Some(FORBIDDEN_ROLE));
            if roles.len() < before {
                document.set(value);
                is_stripped = true;
            }
        }
        is_stripped
    }

    /// The documents, each with a separator in front.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|document| format!("---\n{}", document.text)).collect()
    }

    /// The documents without secrets and comments, each with a separator in front.
    pub(crate) fn redacted(&self) -> String {
        let text = |document: &Foreign| format!("---\n{}", yaml::render(&redacted(&document.value)));
        self.0.iter().map(text).collect()
    }
}

fn is_deletion(value: &Value) -> bool {
    value.get(DIRECTIVE).is_some()
}

fn replaced(kind: &str) -> &'static [&'static str] {
    REPLACED.iter().find(|(known, _)| *known == kind).map(|(_, keys)| *keys).unwrap_or_default()
}

/// Lays `patch` over `base`; the values of some keys take the place of the old ones.
fn merge(base: &mut Value, patch: Value, replaced: &[&str]) {
    match (base, patch) {
        (Value::Object(old), Value::Object(new)) => merge_objects(old, new, replaced),
        (Value::Array(old), Value::Array(new)) => merge_lists(old, new),
        (base, value) => {
            if !is_absent(&value) {
                *base = stripped(value);
            }
        }
    }
}

fn merge_objects(old: &mut Map<String, Value>, new: Map<String, Value>, replaced: &[&str]) {
    for (key, value) in new {
        if is_deletion(&value) {
            old.shift_remove(&key);
            continue;
        }
        match old.get_mut(&key) {
            Some(base) if !replaced.contains(&key.as_str()) => merge(base, value, replaced),
            _ => {
                old.insert(key, stripped(value));
            }
        }
    }
}

/// Lists grow; an element that is an order takes those away that have the first other key of it with the same value.
fn merge_lists(old: &mut Vec<Value>, new: Vec<Value>) {
    for item in new {
        if !is_deletion(&item) {
            old.push(stripped(item));
            continue;
        }
        let named = item.as_object().and_then(|order| order.iter().find(|(key, _)| *key != DIRECTIVE));
        if let Some((key, value)) = named {
            old.retain(|element| element.get(key) != Some(value));
        }
    }
}

/// Whether a value of a patch says nothing: booleans always say something.
fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

/// The value without orders, for a place where nothing was before.
fn stripped(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(key, value)| key != DIRECTIVE && !is_deletion(value));
            Value::Object(kept.map(|(key, value)| (key, stripped(value))).collect())
        }
        Value::Array(items) => {
            Value::Array(items.into_iter().filter(|item| !is_deletion(item)).map(stripped).collect())
        }
        other => other,
    }
}

fn redacted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let shown = |key: &str, value| if is_secret(key) { hidden(value) } else { redacted(value) };
            Value::Object(map.iter().map(|(key, value)| (key.clone(), shown(key, value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(redacted).collect()),
        Value::String(text) => Value::String(without_credentials(text)),
        other => other.clone(),
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    SECRET_ENDS.iter().any(|end| key.ends_with(end)) && !PUBLIC_KEYS.contains(&key.as_str())
}

/// Hides every text of a value; an empty one shows that nothing is set.
fn hidden(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), hidden(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(hidden).collect()),
        Value::String(text) if !text.is_empty() => Value::String(REDACTED.to_owned()),
        other => other.clone(),
    }
}

/// A URL without user, password and join token; another text as it is.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{REDACTED}@{host}"),
        None => authority.to_owned(),
    };
    let path = match path.split_once(JOIN_TOKEN) {
        Some((before, token)) => {
            let after = token.split_once('&').map_or_else(String::new, |(_, after)| format!("&{after}"));
            format!("{before}{JOIN_TOKEN}{REDACTED}{after}")
        }
        None => path.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDEROLINK: &str = "apiVersion: v1alpha1\nkind: SideroLinkConfig\n\
                              apiUrl: grpc://[::1]:8090?jointoken=hunter2&grpc_tunnel=true\n";

    fn merged(texts: &[&str]) -> Foreigners {
        let mut foreigners = Foreigners::default();
        for text in texts {
            cut(text).foreign.into_iter().for_each(|document| foreigners.merge(document));
        }
        foreigners
    }

    #[test]
    fn foreign_documents_are_cut_out_and_places_hold() {
        let text = format!("machine:\n  type: worker\n---\n{SIDEROLINK}---\nkind: HostnameConfig\n");
        let cut = cut(&text);
        assert_eq!(cut.known, "machine:\n  type: worker\n---\n\n\n\n---\nkind: HostnameConfig\n");
        assert_eq!(cut.known.lines().count(), text.lines().count());
        let kinds: Vec<&str> = cut.foreign.iter().map(|document| document.kind.as_str()).collect();
        assert_eq!(kinds, ["SideroLinkConfig"]);
    }

    #[test]
    fn unknown_kinds_and_broken_texts_are_left_to_the_strict_reader() {
        for text in ["kind: NoSuchConfig\n", "kind: [\n", "- op: add\n", "", "kind: OOMConfig\n...\n---\nx"] {
            let cut = cut(text);
            assert_eq!(cut.known.is_empty(), text.is_empty(), "{text}");
        }
        assert!(cut("kind: NoSuchConfig\n").foreign.is_empty());
    }

    #[test]
    fn a_document_that_no_other_touches_keeps_its_text() {
        let text = "kind: VLANConfig # tagged\nname: a\nmtu: 0x5dc\n";
        assert_eq!(merged(&[text]).text(), format!("---\n{text}"));
    }

    #[test]
    fn lists_grow_mappings_merge_and_scalars_win() {
        let foreigners = merged(&[
            "kind: VLANConfig\nlinks: [a]\ninner: {one: 1, two: 2}\nup: true\nmtu: 9000\n",
            "kind: VLANConfig\nlinks: [b]\ninner: {two: 3, one: {$patch: delete}}\nup: false\nmtu: 0\n",
        ]);
        let lists = "links:\n    - a\n    - b\ninner:\n    two: 3\n";
        assert_eq!(foreigners.text(), format!("---\nkind: VLANConfig\n{lists}up: false\nmtu: 9000\n"));
    }

    #[test]
    fn some_lists_are_replaced() {
        let rule = |subnet: &str| format!("kind: NetworkRuleConfig\ningress: [{{subnet: {subnet}}}]\n");
        let text = merged(&[&rule("10.0.0.0/8"), &rule("192.168.0.0/16")]).text();
        assert!(text.contains("192.168.0.0/16") && !text.contains("10.0.0.0/8"), "{text}");
    }

    #[test]
    fn orders_take_away_and_are_never_written() {
        let one = "kind: VLANConfig\nname: a\nlinks: [{name: x}, {name: z}]\n";
        let order = "kind: VLANConfig\nname: a\nlinks: [{name: x, $patch: delete}]\n";
        let text = merged(&[one, order]).text();
        assert!(!text.contains("name: x") && text.contains("name: z"), "{text}");
        assert_eq!(merged(&[one, "kind: VLANConfig\nname: a\n$patch: delete\n"]).text(), "");
        assert!(!merged(&[order]).text().contains(DIRECTIVE));
    }

    #[test]
    fn names_tell_documents_of_one_kind_apart() {
        let foreigners = merged(&["kind: VLANConfig\nname: a\n", "kind: VLANConfig\nname: b\n"]);
        assert_eq!(foreigners.0.len(), 2);
    }

    #[test]
    fn the_last_word_takes_the_place_of_earlier_ones() {
        let mut foreigners = merged(&["kind: SideroLinkConfig\napiUrl: grpc://evil\n", "kind: OOMConfig\n"]);
        cut(SIDEROLINK).foreign.into_iter().for_each(|document| foreigners.put_last(document));
        assert_eq!(foreigners.text(), format!("---\nkind: OOMConfig\n---\n{SIDEROLINK}"));
    }

    #[test]
    fn secrets_are_hidden_and_the_rest_stays() {
        let foreigners = merged(&[
            SIDEROLINK,
            "kind: WireguardConfig\nprivateKey: hunter2\npeers: [{publicKey: pub, presharedKey: hunter2}]\n",
            "kind: RegistryAuthConfig\nusername: u\npassword: hunter2\nurl: 'https://u:hunter2@host/x'\n",
        ]);
        let text = foreigners.redacted();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("jointoken=REDACTED&grpc_tunnel=true"), "{text}");
        assert!(text.contains("publicKey: pub") && text.contains("username: u"), "{text}");
        assert!(text.contains("https://REDACTED@host/x"), "{text}");
        assert!(foreigners.text().contains("hunter2"));
    }

    #[test]
    fn pods_lose_the_forbidden_role() {
        let text = "kind: KubeTalosAPIAccessConfig\nallowedRoles: [os:reader, os:admin]\n";
        let mut foreigners = merged(&[text]);
        assert!(foreigners.strip_role());
        assert!(!foreigners.text().contains("os:admin") && foreigners.text().contains("os:reader"));
        assert!(!foreigners.strip_role());
    }

    #[test]
    fn any_text_is_cut_without_losing_lines() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let cut = cut(text);
            let lines = |text: &str| text.matches('\n').count();
            assert_eq!(lines(&cut.known), lines(text));
        });
    }
}
