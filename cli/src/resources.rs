//! Reading resources: which type is meant, and each resource as text and as data.

use corten_api::cosi::resource::{GetRequest, ListRequest, Metadata, Resource};
use corten_client::Client;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};

use crate::failure::Cause;
use crate::units;

/// Most resources that are read of one type.
const RESOURCES_MAX: usize = 100_000;

/// What a machine says about a resource type.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Full type.
    pub kind: String,
    /// Type for tables.
    pub display: String,
    /// Namespace when none is named.
    pub namespace: String,
    /// Names under which people ask for it.
    pub aliases: Vec<String>,
    /// Headings with JSONPaths into the specification.
    pub columns: Vec<(String, String)>,
}

impl Definition {
    fn read(resource: &Resource) -> Result<Self, Cause> {
        let spec = spec(resource)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        let columns = spec["printColumns"].as_array().into_iter().flatten();
        let id = metadata(resource).id.clone();
        Ok(Self {
            kind: text(&spec["type"]),
            display: text(&spec["displayType"]),
            namespace: text(&spec["defaultNamespace"]),
            aliases: texts(&spec["allAliases"]).into_iter().chain([id]).collect(),
            columns: columns.map(|column| (text(&column["name"]), text(&column["jsonPath"]))).collect(),
        })
    }

    /// The type that a person means by a name.
    pub async fn resolve(client: &Client, name: &str) -> Result<Self, Cause> {
        let all = list(client, "meta", "ResourceDefinitions.meta.cosi.dev").await?;
        let all = all.iter().map(Self::read).collect::<Result<Vec<_>, _>>()?;
        choose(all, name)
    }
}

fn choose(all: Vec<Definition>, name: &str) -> Result<Definition, Cause> {
    let known: Vec<String> = all.iter().flat_map(|definition| definition.aliases.clone()).collect();
    let meant =
        |definition: &Definition| definition.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name));
    let mut found: Vec<Definition> = all.into_iter().filter(meant).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => {
            let near = corten_config::problem::nearest(name, known.iter().map(String::as_str));
            let near = near.map(|near| format!("did you mean {near:?}? ")).unwrap_or_default();
            let way_out = format!("{near}`corten get rd` lists all types");
            Err(Cause::new(format!("resource type {name:?} is not known there")).way_out(way_out))
        }
        _ => {
            let kinds: Vec<_> = found.iter().map(|definition| definition.kind.to_lowercase()).collect();
            Err(Cause::new(format!("{name:?} may mean any of: {}", kinds.join(", ")))
                .way_out("name one of them in full"))
        }
    }
}

/// All resources of a type.
pub async fn list(client: &Client, namespace: &str, kind: &str) -> Result<Vec<Resource>, Status> {
    let request = ListRequest { namespace: namespace.into(), r#type: kind.into(), options: None };
    let mut stream = client.state().list(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(message) = stream.message().await? {
        if all.len() >= RESOURCES_MAX {
            return Err(Status::new(
                Code::ResourceExhausted,
                format!("there are more than {RESOURCES_MAX} resources"),
            ));
        }
        all.extend(message.resource);
    }
    Ok(all)
}

/// One resource.
pub async fn get(client: &Client, namespace: &str, kind: &str, id: &str) -> Result<Resource, Status> {
    let request =
        GetRequest { namespace: namespace.into(), r#type: kind.into(), id: id.into(), options: None };
    let answer = client.state().get(request).await?.into_inner();
    answer.resource.ok_or_else(|| Status::internal("the machine answered with nothing"))
}

/// The metadata of a resource; empty for a malformed one.
pub fn metadata(resource: &Resource) -> &Metadata {
    static NONE: std::sync::OnceLock<Metadata> = std::sync::OnceLock::new();
    resource.metadata.as_ref().unwrap_or_else(|| NONE.get_or_init(Metadata::default))
}

/// The specification of a resource as data; nothing for a tombstone.
pub fn spec(resource: &Resource) -> Result<Value, Cause> {
    let Some(spec) = &resource.spec else { return Ok(Value::Null) };
    let documents = corten_config::yaml::parse(&spec.yaml_spec).map_err(|problem| {
        let id = &metadata(resource).id;
        Cause::new(format!("the machine's text of {id:?} is not YAML: {problem}"))
    })?;
    Ok(documents.into_iter().next().unwrap_or(Value::Null))
}

/// The resource as data.
pub fn data(node: &str, resource: &Resource) -> Result<Value, Cause> {
    Ok(json!({"node": node, "metadata": metadata_data(metadata(resource)), "spec": spec(resource)?}))
}

fn metadata_data(metadata: &Metadata) -> Value {
    let mut map = Map::new();
    let time = |stamp| units::time_of(stamp).map(units::rfc3339).unwrap_or_default();
    let version =
        metadata.version.parse::<u64>().map_or_else(|_| metadata.version.as_str().into(), Value::from);
    for (key, value) in [
        ("namespace", metadata.namespace.as_str().into()),
        ("type", metadata.r#type.as_str().into()),
        ("id", metadata.id.as_str().into()),
        ("version", version),
        ("owner", metadata.owner.as_str().into()),
        ("phase", metadata.phase.as_str().into()),
        ("created", time(metadata.created).into()),
        ("updated", time(metadata.updated).into()),
    ] {
        map.insert(key.to_owned(), value);
    }
    for (key, values) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        let sorted: std::collections::BTreeMap<_, _> = values.iter().collect();
        if !sorted.is_empty() {
            map.insert(key.to_owned(), json!(sorted));
        }
    }
    if !metadata.finalizers.is_empty() {
        map.insert("finalizers".to_owned(), json!(metadata.finalizers));
    }
    Value::Object(map)
}

/// The resource as a YAML document, its specification in the machine's own words.
pub fn yaml(node: &str, resource: &Resource) -> Result<String, Cause> {
    let head = json!({"node": node, "metadata": metadata_data(metadata(resource))});
    let text = resource.spec.as_ref().map(|spec| spec.yaml_spec.as_str()).unwrap_or_default();
    let spec = match spec(resource)? {
        Value::Object(map) if !map.is_empty() => format!("spec:\n{}", indented(text)),
        Value::Array(items) if !items.is_empty() => format!("spec:\n{}", indented(text)),
        Value::String(text) if text.contains('\n') => format!("spec: |\n{}", indented(&text)),
        other => corten_config::yaml::render(&json!({"spec": other})),
    };
    Ok(corten_config::yaml::render(&head) + &spec)
}

fn indented(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") };
    text.trim_end().lines().map(line).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use corten_api::cosi::resource::Spec;

    use super::*;

    pub fn resource(kind: &str, id: &str, yaml: &str) -> Resource {
        let metadata = Metadata {
            namespace: "network".into(),
            r#type: kind.into(),
            id: id.into(),
            version: "3".into(),
            owner: "network.Apply".into(),
            phase: "running".into(),
            created: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 5 }),
            updated: Some(prost_types::Timestamp { seconds: 1_790_000_001, nanos: 0 }),
            ..Metadata::default()
        };
        Resource { metadata: Some(metadata), spec: Some(Spec { yaml_spec: yaml.into(), ..Spec::default() }) }
    }

    fn definition(kind: &str, aliases: &[&str]) -> Definition {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        Definition {
            kind: kind.into(),
            display: kind.into(),
            namespace: "n".into(),
            aliases,
            columns: vec![],
        }
    }

    #[test]
    fn a_name_means_exactly_one_type() {
        let all =
            || vec![definition("Members.a", &["member", "members"]), definition("Members.b", &["members"])];
        assert_eq!(choose(all(), "Member").expect("one").kind, "Members.a");
        assert!(choose(all(), "members").expect_err("two").lines[0].contains("members.a, members.b"));
        let unknown = choose(all(), "membr").expect_err("none");
        assert!(unknown.way_out.expect("a way out").contains("did you mean \"member\"?"));
    }

    #[test]
    fn documents_carry_the_specification_as_it_is() {
        let text =
            yaml("10.5.0.2", &resource("LinkStatuses.net.talos.dev", "eth0", "up: true\nlist:\n    - a\n"))
                .expect("yaml");
        crate::snapshot::check("get-yaml", &text);
        let scalar = yaml("n", &resource("T", "t", "worker\n")).expect("yaml");
        assert!(scalar.ends_with("spec: worker\n"), "{scalar}");
        let config =
            yaml("n", &resource("T", "t", "|\n    version: v1alpha1\n    machine: {}\n")).expect("yaml");
        assert!(config.ends_with("spec: |\n    version: v1alpha1\n    machine: {}\n"), "{config}");
    }
}
