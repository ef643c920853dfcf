//! What this version does not do yet: each method says so by its own name.

use tonic::Status;

/// The answer of a method that does not exist yet.
#[must_use]
pub fn not_yet(method: &str) -> Status {
    Status::unimplemented(format!("{method} is not implemented by this version of Corten"))
}

#[cfg(test)]
mod tests {
    use corten_api::rules;

    #[test]
    fn the_names_are_those_of_methods() {
        let sources = [
            include_str!("kubernetes.rs"),
            include_str!("lifecycle.rs"),
            include_str!("machine.rs"),
            include_str!("reset.rs"),
            include_str!("unimplemented.rs"),
        ];
        let mut count = 0;
        for rest in sources.iter().flat_map(|source| source.split("not_yet(\"").skip(1)) {
            let name = rest.split(['"', ' ']).next().unwrap_or_default();
            assert!(rules::rule(&format!("/{name}")).is_some(), "{name} is no method");
            count += 1;
        }
        assert!(count > 3, "only {count} methods were found");
    }
}
