//! URLs as Go's YAML library writes them: its struct of a URL (`net/url`), part by part.

use super::parse::Tree;

/// The parts of a URL of the usual form, without a user.
struct Parts<'a> {
    scheme: &'a str,
    host: &'a str,
    path: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let begin = if scheme.is_empty() { 0 } else { rest.find('/').unwrap_or(rest.len()) };
        let (host, path) = rest.split_at(begin);
        Self { scheme, host, path, query, fragment }
    }

    fn text(&self) -> String {
        let mut url = String::new();
        let parts =
            [("", self.scheme), ("://", self.host), ("", self.path), ("?", self.query), ("#", self.fragment)];
        for (before, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
            url.push_str(before);
            url.push_str(part);
        }
        url
    }
}

/// Keys and what stands after each, in Go's order; texts are to be quoted as usual. `None` for a text that is no URL of the
/// usual form, which stands as it is.
pub fn entries(url: &str) -> Option<[(&'static str, Entry<'_>); 11]> {
    let parts = Parts::of(url);
    if parts.text() != url {
        return None;
    }
    let Parts { scheme, host, path, query, fragment } = parts;
    Some([
        ("scheme", Entry::Text(scheme)),
        ("opaque", Entry::Text("")),
        ("user", Entry::Word("null")),
        ("host", Entry::Text(host)),
        ("path", Entry::Text(path)),
        ("fragment", Entry::Text(fragment)),
        ("rawquery", Entry::Text(query)),
        ("rawpath", Entry::Text("")),
        ("rawfragment", Entry::Text("")),
        ("forcequery", Entry::Word("false")),
        ("omithost", Entry::Word("false")),
    ])
}

/// What stands after a key.
pub enum Entry<'a> {
    /// A text.
    Text(&'a str),
    /// A word of YAML's own.
    Word(&'static str),
}

/// The URL of such a mapping.
pub fn read(entries: &[(String, Tree)]) -> String {
    let part = |name: &str| match entries.iter().find(|(key, _)| key == name) {
        Some((_, Tree::Scalar(text, _))) => text.as_str(),
        _ => "",
    };
    let (scheme, host, path) = (part("scheme"), part("host"), part("path"));
    Parts { scheme, host, path, query: part("rawquery"), fragment: part("fragment") }.text()
}
