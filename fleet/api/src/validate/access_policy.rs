//! Rules of `AccessPolicy`: its patterns and roles can be read, and all of its own tests hold.

use corten_fleet_auth::policy::validate;
use corten_fleet_resources::auth::AccessPolicy;
use corten_resource::Resource;

use super::View;

pub(super) fn check(
    _: &View,
    _: Option<&Resource<AccessPolicy>>,
    new: &Resource<AccessPolicy>,
) -> Result<(), String> {
    validate(new.id(), &new.spec).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::auth::{PolicyRule, PolicyTest};

    use super::*;
    use crate::testing::{Fleet, with};
    use crate::validate::testing::check;

    #[test]
    fn a_policy_has_its_only_id_and_what_it_says_can_be_read() {
        let fleet = Fleet::new();
        let rule = PolicyRule { role: "admin".to_owned(), ..PolicyRule::default() };
        let tests = vec![PolicyTest::default()];
        for (id, spec, refusal) in [
            (AccessPolicy::ID, AccessPolicy::default(), ""),
            ("other", AccessPolicy::default(), "its id must be \"access-policy\""),
            (AccessPolicy::ID, AccessPolicy { rules: vec![rule], ..AccessPolicy::default() }, "unknown role"),
            (AccessPolicy::ID, AccessPolicy { tests, ..AccessPolicy::default() }, "it has no name"),
        ] {
            check(&fleet, with(id, spec, &[]), refusal);
        }
    }
}
