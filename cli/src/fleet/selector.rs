//! Label selectors and id patterns, as requests for resources carry them.

use clap::Args;
use corten_api::cosi::resource::label_term::Operation;
use corten_api::cosi::resource::{IdQuery, LabelQuery, LabelTerm as WireTerm, ListOptions};
use corten_resource::{LabelOp, LabelTerm, Selector};

// Which resources of a type are meant. A documentation comment would become the command's help.
#[derive(Args, Clone, Debug, Default)]
pub struct Filter {
    /// Only resources with labels like these: key=value, key!=value, key, !key, several with commas between.
    #[arg(short = 'l', long, value_parser = parse, value_name = "SELECTOR")]
    pub selector: Option<Selector>,
    /// Only resources whose id matches this regular expression.
    #[arg(long, value_name = "REGEXP")]
    pub id_match_regexp: Option<String>,
}

impl Filter {
    /// Whether it means all resources.
    pub fn is_empty(&self) -> bool {
        self.selector.is_none() && self.id_match_regexp.is_none()
    }

    /// For a request.
    pub fn options(&self) -> ListOptions {
        let terms = |selector: &Selector| selector.terms().into_iter().map(wire).collect();
        let query = |selector| LabelQuery { terms: terms(selector) };
        ListOptions {
            label_query: self.selector.iter().map(query).collect(),
            id_query: self.id_match_regexp.clone().map(|regexp| IdQuery { regexp }),
        }
    }
}

/// Reads a selector. An empty one would mean all resources, which is said by leaving it out.
fn parse(text: &str) -> Result<Selector, String> {
    match Selector::parse(text) {
        Ok(selector) if selector.is_empty() => Err("it is empty; leave it out to mean all".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

fn wire(term: LabelTerm) -> WireTerm {
    let op = match term.op {
        LabelOp::Exists => Operation::Exists,
        LabelOp::Equal => Operation::Equal,
        LabelOp::NotExists => Operation::NotExists,
        LabelOp::In => Operation::In,
        LabelOp::Less => Operation::Lt,
        LabelOp::LessOrEqual => Operation::Lte,
        LabelOp::LessNumeric => Operation::LtNumeric,
        LabelOp::LessOrEqualNumeric => Operation::LteNumeric,
    };
    WireTerm { key: term.key, op: op.into(), value: term.values, invert: term.invert }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_becomes_the_terms_of_one_query() {
        let filter = Filter { selector: parse("a=1, !b, mem<=8GB").ok(), ..Filter::default() };
        let term = |key: &str, op: Operation, value: &[&str], invert| WireTerm {
            key: key.to_owned(),
            op: op.into(),
            value: value.iter().map(|value| (*value).to_owned()).collect(),
            invert,
        };
        let terms = vec![
            term("a", Operation::Equal, &["1"], false),
            term("b", Operation::Exists, &[], true),
            term("mem", Operation::LteNumeric, &["8GB"], false),
        ];
        assert_eq!(filter.options().label_query, [LabelQuery { terms }]);
        assert!(!filter.is_empty() && Filter::default().is_empty());
    }

    #[test]
    fn an_empty_or_malformed_selector_is_refused() {
        for text in ["", " ", "a,,b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
