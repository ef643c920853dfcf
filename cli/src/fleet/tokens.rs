//! Join tokens: which one is meant, and what depends on it.

use corten_fleet_resources::link::{JoinTokenStatus, JoinTokenWarning};
use corten_resource::{Query, Resource, StateError, Store as _};

use super::answer::found;
use super::change::pointer;
use super::connect::Manager;
use crate::failure::Cause;

/// All join tokens, by their id.
pub async fn all(manager: &Manager) -> Result<Vec<Resource<JoinTokenStatus>>, StateError> {
    let found = manager.store().list(&pointer::<JoinTokenStatus>(""), &Query::default()).await?;
    Ok(found.iter().filter_map(|token| token.resource::<JoinTokenStatus>().cloned()).collect())
}

/// The only token with this name.
pub fn named(tokens: &[Resource<JoinTokenStatus>], name: &str) -> Result<String, Cause> {
    let mut fitting = tokens.iter().filter(|token| token.name == name);
    match (fitting.next(), fitting.next()) {
        (Some(token), None) => Ok(token.id().to_owned()),
        (Some(_), Some(_)) => Err(Cause::new(format!("several tokens have the name {name:?}"))
            .way_out("name one of them by its id: `corten fleet jointoken list` shows the ids")),
        (None, _) => Err(Cause::new(format!("no token has the name {name:?}"))
            .way_out("`corten fleet jointoken list` shows the names")),
    }
}

/// Refuses to take a token away on which machines depend.
pub async fn expect_unused(manager: &Manager, id: &str) -> Result<(), Cause> {
    let status = found(manager.store().get(&pointer::<JoinTokenStatus>(id)).await)?;
    let status = status.as_ref().and_then(|status| status.spec::<JoinTokenStatus>());
    dependents(status.map(|status| status.warnings.as_slice()).unwrap_or_default())
}

fn dependents(warnings: &[JoinTokenWarning]) -> Result<(), Cause> {
    if warnings.is_empty() {
        return Ok(());
    }
    let line = |warning: &JoinTokenWarning| format!("machine {}: {}", warning.machine, warning.message);
    let lines = warnings.iter().map(line).collect();
    Err(Cause { lines, way_out: None }
        .way_out("nothing was changed; with --force it is done all the same, and these machines are cut off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str, name: &str) -> Resource<JoinTokenStatus> {
        Resource::new(id, JoinTokenStatus { name: name.to_owned(), ..JoinTokenStatus::default() })
    }

    #[test]
    fn a_name_means_one_token() {
        let tokens = [token("t1", "lab"), token("t2", "lab"), token("t3", "home")];
        assert_eq!(named(&tokens, "home"), Ok("t3".to_owned()));
        assert!(named(&tokens, "lab").expect_err("two").lines[0].contains("several"));
        assert!(named(&tokens, "x").is_err());
    }

    #[test]
    fn machines_that_would_be_cut_off_are_named() {
        assert_eq!(dependents(&[]), Ok(()));
        let warning = JoinTokenWarning { machine: "m1".into(), message: "it has no token of its own".into() };
        let cause = dependents(&[warning]).expect_err("refused");
        assert_eq!(cause.lines, ["machine m1: it has no token of its own"]);
        assert!(cause.way_out.expect("a way out").contains("--force"));
    }
}
