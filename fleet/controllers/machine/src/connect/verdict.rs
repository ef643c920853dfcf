//! What a machine is, from how calling it went (fleet.md 1.10).
//!
//! That a connection without certificates comes about is not enough: a machine is in maintenance when it also answers
//! the first calls. One that is configured for a cluster which is not known here refuses.

use tonic::{Code, Status};

use super::DialError;

/// How one way to call a machine went, connection and first calls together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Answered,
    /// It does not want to speak with the manager.
    Refused,
    /// The manager does not want to speak with it.
    Distrusted,
    /// There was no answer.
    Missed,
}

impl Outcome {
    /// That of a connection that did not come about.
    #[must_use]
    pub const fn of_dial(error: &DialError) -> Self {
        match error {
            DialError::Refused { .. } => Self::Refused,
            DialError::Distrusted { .. } => Self::Distrusted,
            DialError::Unreachable { .. } | DialError::Silent { .. } | DialError::Credentials { .. } => {
                Self::Missed
            }
        }
    }

    /// That of a call that failed.
    #[must_use]
    pub fn of_status(status: &Status) -> Self {
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => Self::Refused,
            _ => Self::Missed,
        }
    }
}

/// What a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A member of the cluster whose credentials were used.
    Member,
    /// It waits for a configuration.
    Maintenance,
    /// It belongs to a cluster that is not known here.
    Foreign,
    /// Nobody knows; it is tried again.
    Unreachable,
}

/// Whether a machine is to be called without credentials too. One that gave no answer gives none then either.
#[must_use]
pub const fn is_maintenance_worth_a_try(member: Option<Outcome>) -> bool {
    matches!(member, None | Some(Outcome::Refused | Outcome::Distrusted))
}

/// What a machine is; `None` where a way was not tried.
#[must_use]
pub const fn verdict(member: Option<Outcome>, maintenance: Option<Outcome>) -> Verdict {
    match (member, maintenance) {
        (Some(Outcome::Answered), _) => Verdict::Member,
        (_, Some(Outcome::Answered)) => Verdict::Maintenance,
        (_, Some(Outcome::Refused)) => Verdict::Foreign,
        _ => Verdict::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Answered, Distrusted, Missed, Refused};
    use super::*;

    #[test]
    fn a_machine_in_maintenance_answers_without_credentials_and_a_foreign_one_refuses() {
        for (member, maintenance, expected) in [
            (None, Some(Answered), Verdict::Maintenance),
            (None, Some(Refused), Verdict::Foreign),
            (None, Some(Missed), Verdict::Unreachable),
            (Some(Answered), None, Verdict::Member),
            (Some(Distrusted), Some(Answered), Verdict::Maintenance),
            (Some(Distrusted), Some(Refused), Verdict::Foreign),
            (Some(Refused), Some(Refused), Verdict::Foreign),
            (Some(Refused), Some(Missed), Verdict::Unreachable),
            (Some(Missed), None, Verdict::Unreachable),
        ] {
            assert_eq!(verdict(member, maintenance), expected, "{member:?} {maintenance:?}");
            assert_eq!(is_maintenance_worth_a_try(member), maintenance.is_some());
        }
    }

    #[test]
    fn a_refused_call_is_no_answer_even_if_the_connection_came_about() {
        assert_eq!(Outcome::of_status(&Status::permission_denied("no")), Refused);
        assert_eq!(Outcome::of_status(&Status::unavailable("later")), Missed);
    }
}
