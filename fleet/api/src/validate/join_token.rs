//! Rules of `JoinToken`: a short name, and the default one stays.

use corten_fleet_resources::link::{DefaultJoinToken, JoinToken};
use corten_resource::Resource;

use super::View;

/// Longest name, characters (fleet.md 3.2).
const NAME_MAX: usize = 16;

pub(super) fn check(
    _: &View,
    _: Option<&Resource<JoinToken>>,
    new: &Resource<JoinToken>,
) -> Result<(), String> {
    check_name(&new.spec.name)
}

pub(super) fn check_destroy(view: &View, stored: &Resource<JoinToken>) -> Result<(), String> {
    let is_default = |default: &Resource<DefaultJoinToken>| default.token_id == stored.id();
    let defaults = view.all::<DefaultJoinToken>();
    if defaults.iter().filter_map(|default| default.resource::<DefaultJoinToken>()).any(is_default) {
        let name = &stored.name;
        return Err(format!("join token {name:?} is the default one; make another one the default first"));
    }
    Ok(())
}

/// Whether a join token may have this name.
///
/// # Errors
/// When it is empty, longer than 16 characters, or has control characters.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.chars().nth(NAME_MAX).is_some() {
        return Err(format!("the name of a join token has 1 to {NAME_MAX} characters"));
    }
    if name.chars().any(char::is_control) {
        return Err("the name of a join token must not have control characters".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fleet, with};
    use crate::validate::testing;

    #[test]
    fn a_name_is_short_and_can_be_printed() {
        let fleet = Fleet::new();
        for (name, refusal) in [
            ("rack 1", ""),
            ("sixteen letters!", ""),
            ("seventeen letters", "1 to 16 characters"),
            ("", "1 to 16 characters"),
            ("a\nb", "control characters"),
        ] {
            let token = JoinToken { name: name.to_owned(), ..JoinToken::default() };
            testing::check(&fleet, with("t", token, &[]), refusal);
        }
    }

    #[test]
    fn the_default_token_stays() {
        let fleet = Fleet::new();
        fleet.put("t", JoinToken { name: "one".to_owned(), ..JoinToken::default() });
        testing::check_destroy::<JoinToken>(&fleet, "t", "");
        fleet.put("default", DefaultJoinToken { token_id: "t".to_owned() });
        testing::check_destroy::<JoinToken>(&fleet, "t", "join token \"one\" is the default one");
    }
}
