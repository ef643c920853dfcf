//! Merging a kubeconfig into another, as `kubectl` reads it.

use serde_json::{Map, Value, json};

/// The lists of named entries: key of the list, key of the entry.
const LISTS: [(&str, &str); 3] = [("clusters", "cluster"), ("users", "user"), ("contexts", "context")];

/// What to do with a name that is taken by something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// The new entry gets a number.
    Rename,
    /// The old entry goes.
    Overwrite,
}

/// Adds the entries of `new` to `base` and makes its context current. Returns what was renamed, old name first.
///
/// A rename follows through: contexts keep pointing to their own cluster and user.
pub fn merge(
    base: &mut Value,
    new: &Value,
    clash: Clash,
    context_name: Option<&str>,
) -> Vec<(String, String)> {
    let mut renamed = Vec::new();
    let mut new = new.clone();
    if let Some(name) = context_name {
        let old = text(&new["current-context"]).to_owned();
        rename(&mut new, "contexts", &old, name);
    }
    if !base.is_object() {
        *base = json!({"apiVersion": "v1", "kind": "Config"});
    }
    for (list, entry) in LISTS {
        for name in names(&new[list]) {
            let free = match clash {
                Clash::Overwrite => name.clone(),
                Clash::Rename => free_name(&base[list], &find(&new[list], &name)[entry], entry, &name),
            };
            if free != name {
                rename(&mut new, list, &name, &free);
                renamed.push((name, free.clone()));
            }
            put(base, list, find(&new[list], &free).clone());
        }
    }
    base["current-context"] = new["current-context"].clone();
    renamed
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn names(list: &Value) -> Vec<String> {
    entries(list).map(|entry| text(&entry["name"]).to_owned()).collect()
}

fn find<'a>(list: &'a Value, name: &str) -> &'a Value {
    entries(list).find(|entry| text(&entry["name"]) == name).unwrap_or(&Value::Null)
}

/// The name, with a number if another entry with other content has it.
fn free_name(list: &Value, content: &Value, key: &str, name: &str) -> String {
    let fits = |name: &str| {
        let taken = find(list, name);
        taken.is_null() || taken[key] == *content
    };
    let numbered = (1u32..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| fits(name)).unwrap_or_default()
}

/// Renames an entry and every reference to it.
fn rename(config: &mut Value, list: &str, old: &str, new: &str) {
    for entry in config[list].as_array_mut().into_iter().flatten() {
        if text(&entry["name"]) == old {
            entry["name"] = new.into();
        }
    }
    match list {
        "contexts" if text(&config["current-context"]) == old => config["current-context"] = new.into(),
        "clusters" | "users" => {
            let key = list.trim_end_matches('s');
            for context in config["contexts"].as_array_mut().into_iter().flatten() {
                if text(&context["context"][key]) == old {
                    context["context"][key] = new.into();
                }
            }
        }
        _ => {}
    }
}

fn put(config: &mut Value, list: &str, entry: Value) {
    let Some(root) = config.as_object_mut() else { return };
    let items = root.entry(list).or_insert_with(|| json!([]));
    if !items.is_array() {
        *items = json!([]);
    }
    let Some(items) = items.as_array_mut() else { return };
    match items.iter_mut().find(|item| item["name"] == entry["name"]) {
        Some(item) => *item = entry,
        None => items.push(entry),
    }
}

/// The kubeconfig in a file; an empty one has nothing.
pub fn parse(text: &str) -> Result<Value, String> {
    let documents = corten_config::yaml::parse(text).map_err(|problem| problem.to_string())?;
    match documents.into_iter().next() {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(Value::Object(map)) => Ok(Value::Object(Map::from_iter(map))),
        Some(_) => Err("it is not a kubeconfig".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(token: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "admin@home",
            "clusters": [{"name": "home", "cluster": {"server": format!("https://{token}:6443")}}],
            "users": [{"name": "admin@home", "user": {"token": token}}],
            "contexts": [{"name": "admin@home", "context": {"cluster": "home", "user": "admin@home", "namespace": "default"}}],
        })
    }

    #[test]
    fn what_differs_is_renamed_and_stays_connected() {
        let mut base = Value::Null;
        assert!(merge(&mut base, &config("a"), Clash::Rename, None).is_empty());
        assert_eq!(base, config("a"));
        assert!(
            merge(&mut base, &config("a"), Clash::Rename, None).is_empty(),
            "the same again changes nothing"
        );
        let renamed = merge(&mut base, &config("b"), Clash::Rename, None);
        assert_eq!(renamed.len(), 3);
        let context = find(&base["contexts"], "admin@home-1");
        assert_eq!(
            (text(&context["context"]["cluster"]), text(&context["context"]["user"])),
            ("home-1", "admin@home-1")
        );
        assert_eq!(text(&base["current-context"]), "admin@home-1");
        assert_eq!(text(&find(&base["users"], "admin@home")["user"]["token"]), "a");
    }

    #[test]
    fn overwriting_keeps_foreign_entries_and_keys() {
        let mut base = config("a");
        base["preferences"] = json!({"colors": true});
        base["users"].as_array_mut().expect("a list").push(json!({"name": "other", "user": {}}));
        assert!(merge(&mut base, &config("b"), Clash::Overwrite, Some("mine")).is_empty());
        assert_eq!(text(&find(&base["users"], "admin@home")["user"]["token"]), "b");
        assert_eq!(names(&base["users"]), ["admin@home", "other"]);
        assert_eq!(names(&base["contexts"]), ["admin@home", "mine"]);
        assert_eq!((text(&base["current-context"]), &base["preferences"]["colors"]), ("mine", &true.into()));
    }

    #[test]
    fn never_panics_on_any_file() {
        bolero::check!().for_each(|input: &[u8]| {
            if let Ok(mut base) = parse(&String::from_utf8_lossy(input)) {
                merge(&mut base, &config("a"), Clash::Rename, None);
            }
        });
    }
}
