//! Reading resources: which type is meant, and each resource as text and as data.

use corten_api::cosi::resource::{
    GetRequest, GetResponse, ListOptions, ListRequest, ListResponse, Metadata, Resource, WatchRequest,
    WatchResponse,
};
use corten_client::Client;
use serde_json::{Map, Value, json};
use tonic::{Code, Status, Streaming};

use crate::failure::Cause;
use crate::units;

/// Most resources that are read of one type.
const RESOURCES_MAX: usize = 100_000;

/// Whoever answers for resources: a machine, or the manager of many.
pub trait Source {
    /// The command that lists all types there.
    const TYPES: &'static str;

    /// What a refusal means to a person.
    fn refused(status: Status) -> Cause;

    /// One resource.
    async fn get(&self, request: GetRequest) -> Result<GetResponse, Status>;

    /// Resources of a type.
    async fn list(&self, request: ListRequest) -> Result<Streaming<ListResponse>, Status>;

    /// Changes of resources.
    async fn watch(&self, request: WatchRequest) -> Result<Streaming<WatchResponse>, Status>;
}

impl Source for Client {
    const TYPES: &'static str = "corten get rd";

    fn refused(status: Status) -> Cause {
        status.into()
    }

    async fn get(&self, request: GetRequest) -> Result<GetResponse, Status> {
        Ok(self.state().get(request).await?.into_inner())
    }

    async fn list(&self, request: ListRequest) -> Result<Streaming<ListResponse>, Status> {
        Ok(self.state().list(request).await?.into_inner())
    }

    async fn watch(&self, request: WatchRequest) -> Result<Streaming<WatchResponse>, Status> {
        Ok(self.state().watch(request).await?.into_inner())
    }
}

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
    pub async fn resolve<S: Source>(source: &S, name: &str) -> Result<Self, Cause> {
        let all = list(source, "meta", "ResourceDefinitions.meta.cosi.dev").await.map_err(S::refused)?;
        let all = all.iter().map(Self::read).collect::<Result<Vec<_>, _>>()?;
        choose(all, name, S::TYPES)
    }
}

/// The type that a name means; `types` is the command that lists all of them.
fn choose(all: Vec<Definition>, name: &str, types: &str) -> Result<Definition, Cause> {
    let known: Vec<String> = all.iter().flat_map(|definition| definition.aliases.clone()).collect();
    let meant =
        |definition: &Definition| definition.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name));
    let mut found: Vec<Definition> = all.into_iter().filter(meant).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => {
            let near = corten_config::problem::nearest(name, known.iter().map(String::as_str));
            let near = near.map(|near| format!("did you mean {near:?}? ")).unwrap_or_default();
            let way_out = format!("{near}`{types}` lists all types");
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
pub async fn list(source: &impl Source, namespace: &str, kind: &str) -> Result<Vec<Resource>, Status> {
    list_with(source, namespace, kind, None).await
}

/// Resources of a type that the options mean.
pub async fn list_with(
    source: &impl Source,
    namespace: &str,
    kind: &str,
    options: Option<ListOptions>,
) -> Result<Vec<Resource>, Status> {
    let request = ListRequest { namespace: namespace.into(), r#type: kind.into(), options };
    let mut stream = source.list(request).await?;
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
pub async fn get(source: &impl Source, namespace: &str, kind: &str, id: &str) -> Result<Resource, Status> {
    let request =
        GetRequest { namespace: namespace.into(), r#type: kind.into(), id: id.into(), options: None };
    let answer = source.get(request).await?;
    answer.resource.ok_or_else(|| Status::internal("the answer holds no resource"))
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
        Cause::new(format!("the text of {id:?} is not YAML: {problem}"))
    })?;
    Ok(documents.into_iter().next().unwrap_or(Value::Null))
}

/// The resource as data, with the machine that has it, if it is one's.
pub fn data(node: Option<&str>, resource: &Resource) -> Result<Value, Cause> {
    let mut data = head(node, resource);
    data.insert("spec".to_owned(), spec(resource)?);
    Ok(Value::Object(data))
}

fn head(node: Option<&str>, resource: &Resource) -> Map<String, Value> {
    let mut head = Map::new();
    if let Some(node) = node {
        head.insert("node".to_owned(), node.into());
    }
    head.insert("metadata".to_owned(), metadata_data(metadata(resource)));
    head
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

/// The resource as a YAML document, its specification in the words of whoever has it.
pub fn yaml(node: Option<&str>, resource: &Resource) -> Result<String, Cause> {
    let head = Value::Object(head(node, resource));
    Ok(corten_config::yaml::render(&head) + &spec_yaml(resource)?)
}

/// The specification as the last part of such a document.
pub fn spec_yaml(resource: &Resource) -> Result<String, Cause> {
    let text = resource.spec.as_ref().map(|spec| spec.yaml_spec.as_str()).unwrap_or_default();
    Ok(match spec(resource)? {
        Value::Object(map) if !map.is_empty() => format!("spec:\n{}", indented(text)),
        Value::Array(items) if !items.is_empty() => format!("spec:\n{}", indented(text)),
        Value::String(text) if text.contains('\n') => format!("spec: |\n{}", indented(&text)),
        other => corten_config::yaml::render(&json!({"spec": other})),
    })
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
        let choose = |name: &str| choose(all(), name, "corten get rd");
        assert_eq!(choose("Member").expect("one").kind, "Members.a");
        assert!(choose("members").expect_err("two").lines[0].contains("members.a, members.b"));
        let unknown = choose("membr").expect_err("none").way_out.expect("a way out");
        assert_eq!(unknown, "did you mean \"member\"? `corten get rd` lists all types");
    }

    #[test]
    fn documents_carry_the_specification_as_it_is() {
        let yaml = |node: &str, resource: &Resource| yaml(Some(node), resource);
        let link = resource("LinkStatuses.net.talos.dev", "eth0", "up: true\nlist:\n    - a\n");
        let text = yaml("10.5.0.2", &link).expect("yaml");
        crate::snapshot::check("get-yaml", &text);
        let scalar = yaml("n", &resource("T", "t", "worker\n")).expect("yaml");
        assert!(scalar.ends_with("spec: worker\n"), "{scalar}");
        let config =
            yaml("n", &resource("T", "t", "|\n    version: v1alpha1\n    machine: {}\n")).expect("yaml");
        assert!(config.ends_with("spec: |\n    version: v1alpha1\n    machine: {}\n"), "{config}");
    }
}
