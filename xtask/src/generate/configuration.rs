//! The page of the machine configuration: every document and field that is read, and what each does in this version.

use anyhow::{Context, Result};
use corten_config::schema::{self, DOCUMENTS, Field, LATER_KINDS, ROOT_KIND, Record, Support, Type};

use super::{code, table};

const HEAD: &str = "# Machine configuration

A configuration is a file of YAML documents: one without `kind`, called `v1alpha1`, with `machine` and `cluster`, and
any number of others with `apiVersion: v1alpha1` and a `kind`. Keys that are not listed here are refused with their
place and the nearest known key.

*effect*: fields without a word take effect; those marked *none yet* are accepted, and whoever sets one is warned;
those marked *refused* would mislead if they were ignored, so a configuration that sets one is refused.
";

/// The page.
pub(super) fn page() -> Result<String> {
    let mut text = HEAD.to_owned();
    text += "\n## Documents that are refused by name\n\nThey are known and not supported yet.\n\n";
    let mut later: Vec<&str> = LATER_KINDS.to_vec();
    later.sort_unstable();
    text += &later.iter().map(|kind| format!("- {}\n", code(kind))).collect::<String>();
    let root = schema::kind(ROOT_KIND).context("there is no root document")?;
    text += &format!("\n## {ROOT_KIND}\n\n{}\n\n{}", root.record.doc, fields(root.record));
    let mut kinds: Vec<_> = DOCUMENTS.iter().filter(|document| document.kind != ROOT_KIND).collect();
    kinds.sort_by_key(|document| document.kind);
    for document in kinds {
        let names = if document.named { " There may be several, told apart by `name`." } else { "" };
        text += &format!(
            "\n## {}\n\n{}{names}\n\n{}",
            document.kind,
            document.record.doc,
            fields(document.record)
        );
    }
    Ok(text)
}

fn fields(record: &Record) -> String {
    let mut rows = Vec::new();
    collect("", record, &mut rows);
    table(["field", "type", "effect", "meaning"], rows)
}

/// Rows of a record and of the records in it, each field with its whole path.
fn collect(prefix: &str, record: &Record, rows: &mut Vec<[String; 4]>) {
    for field in record.fields {
        let path = format!("{prefix}{}", field.key);
        rows.push([code(&path), name(&field.kind), effect(field).to_owned(), field.doc.to_owned()]);
        if field.support != Support::Refused
            && let Some((inner, suffix)) = inner(&field.kind)
        {
            collect(&format!("{path}{suffix}."), inner, rows);
        }
    }
}

/// The record inside a type, and how a path goes through what is around it.
fn inner(kind: &Type) -> Option<(&'static Record, String)> {
    match kind {
        Type::Record(record) => Some((*record, String::new())),
        Type::List(element) => inner(element).map(|(record, suffix)| (record, format!("[]{suffix}"))),
        Type::Map(element) => inner(element).map(|(record, suffix)| (record, format!(".*{suffix}"))),
        _ => None,
    }
}

const fn effect(field: &Field) -> &'static str {
    match field.support {
        Support::Effective => "",
        Support::Inert => "none yet",
        Support::Refused => "refused",
    }
}

fn name(kind: &Type) -> String {
    match kind {
        Type::Text => "text".to_owned(),
        Type::Bool => "boolean".to_owned(),
        Type::Integer(least, most) if (*least, *most) == (i64::MIN, i64::MAX) => "integer".to_owned(),
        Type::Integer(least, i64::MAX) => format!("integer from {least}"),
        Type::Integer(least, most) => format!("integer from {least} to {most}"),
        Type::Duration => "duration".to_owned(),
        Type::Size => "size".to_owned(),
        Type::Mode => "permissions".to_owned(),
        Type::Ip => "IP address".to_owned(),
        Type::Cidr => "address/length".to_owned(),
        Type::Address => "address, or address/length".to_owned(),
        Type::Ports => "port, or range of ports".to_owned(),
        Type::Url => "URL".to_owned(),
        Type::Pem => "base64 of PEM".to_owned(),
        Type::OneOf(words) => words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", "),
        Type::Argument => "text, or list of texts".to_owned(),
        Type::Any => "anything".to_owned(),
        Type::Object => "mapping".to_owned(),
        Type::List(element) => format!("list of {}", name(element)),
        Type::Map(element) => format!("mapping to {}", name(element)),
        Type::Record(_) => "section".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_lists_and_sections_have_their_whole_path() {
        let page = page().unwrap();
        assert!(page.contains("| `machine.install.disk` |"), "install.disk");
        let resolver = page.split("\n## ResolverConfig\n").nth(1).unwrap();
        assert!(resolver.contains("| `nameservers[].address` | IP address |  |"), "nameservers");
        assert!(resolver.contains("| `nameservers[].tlsServerName` | text | refused |"), "tlsServerName");
    }
}
