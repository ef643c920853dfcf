//! One answer or failure for each machine that was asked.

use serde_json::{Map, Value};

use crate::command::Report;
use crate::failure::Failure;
use crate::table::{self, Row};

/// Answers in the order in which the machines were named.
#[derive(Debug)]
pub struct PerNode<T>(pub Vec<(String, Result<T, Failure>)>);

/// What one machine answers.
pub trait Answer: Sized {
    /// All answers for people.
    fn text(answers: &[(&str, &Self)]) -> String;

    /// One answer for programs: objects that get the machine's name.
    fn data(&self) -> Vec<Map<String, Value>>;
}

impl<T> PerNode<T> {
    fn answers(&self) -> Vec<(&str, &T)> {
        self.0.iter().filter_map(|(node, result)| Some((node.as_str(), result.as_ref().ok()?))).collect()
    }
}

impl<T: Answer> Report for PerNode<T> {
    fn text(&self) -> String {
        let answers = self.answers();
        if answers.is_empty() { String::new() } else { T::text(&answers) }
    }

    fn data(&self) -> Value {
        let named = |node: &str, fields: Map<String, Value>| {
            Value::Object(std::iter::once(("node".to_owned(), node.into())).chain(fields).collect())
        };
        let each = |(node, result): &(String, Result<T, Failure>)| match result {
            Ok(answer) => answer.data().into_iter().map(|fields| named(node, fields)).collect(),
            Err(failure) => {
                vec![named(node, failure.data().as_object().cloned().unwrap_or_default())]
            }
        };
        Value::Array(self.0.iter().flat_map(|entry| -> Vec<Value> { each(entry) }).collect())
    }

    fn failures(&self) -> Vec<Failure> {
        self.0.iter().filter_map(|(_, result)| result.as_ref().err().cloned()).collect()
    }
}

/// A table over all machines.
impl<T: Row> Answer for Vec<T> {
    fn text(answers: &[(&str, &Self)]) -> String {
        table::render(answers.iter().flat_map(|(node, rows)| rows.iter().map(|row| (*node, row))))
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        self.iter().map(Row::data).collect()
    }
}

/// Nothing to tell: the command printed while it ran, or only acted.
impl Answer for () {
    fn text(_: &[(&str, &Self)]) -> String {
        String::new()
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        Vec::new()
    }
}

/// Something to tell a person about each machine.
impl Answer for String {
    fn text(answers: &[(&str, &Self)]) -> String {
        answers.iter().map(|(node, text)| format!("{node}: {text}\n")).collect()
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        vec![Map::from_iter([("message".to_owned(), self.as_str().into())])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_in_the_data_and_not_in_the_text() {
        let failed = Failure::new("cannot ask on b").because("away");
        let report = PerNode(vec![("a".to_owned(), Ok("fine".to_owned())), ("b".to_owned(), Err(failed))]);
        assert_eq!(report.text(), "a: fine\n");
        let data = report.data();
        assert_eq!(data[0], serde_json::json!({"node": "a", "message": "fine"}));
        assert_eq!((&data[1]["node"], &data[1]["causes"][0]), (&"b".into(), &"away".into()));
        assert_eq!(report.failures().len(), 1);
    }
}
