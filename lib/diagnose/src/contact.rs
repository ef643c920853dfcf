//! Whether the machine answers, and as whom it knows itself and us.

use std::time::{Duration, SystemTime};

use corten_resource::yaml::time;

use crate::vitals::CertificateFact;
use crate::{Diagnosis, Evidence, Facts, Severity};

/// A certificate that ends sooner is told of.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// What clients say of a certificate that is over.
const EXPIRED: &[&str] = &["certificate expired", "Expired", "has expired"];
/// What they say of one that is not valid yet.
const NOT_YET: &[&str] = &["NotValidYet", "not valid yet", "not yet valid"];
/// What they say of one whose authority they do not know, and machines of that of a client.
const STRANGER: &[&str] = &[
    "UnknownIssuer",
    "UnknownCA",
    "unknown authority",
    "BadSignature",
    "CertificateRequired",
    "BadCertificate",
];

/// The diagnoses.
pub(crate) const TABLE: &[Diagnosis] = &[
    Diagnosis {
        id: "certificate-expired",
        title: "A certificate has expired.",
        why: "Whoever checks it refuses the connection. Machines renew their own certificates while they run and know \
              the time; those of people and of authorities have to be renewed.",
        remedy: &[
            "Compare the clock of the machine and your own with the time that is.",
            "If it is yours, make a new client configuration with `corten config new`, or from secrets.yaml with `corten gen config`.",
            "If it is an authority, make a new one and give it to every machine as an accepted CA first.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: expired,
    },
    Diagnosis {
        id: "certificate-not-yet-valid",
        title: "A certificate is not valid yet.",
        why: "Somebody's clock is wrong: the certificate was made where it is later than where it is checked.",
        remedy: &[
            "Compare the clock of the machine, your own and that of who made the certificate.",
            "Correct the clock that is wrong; the machine takes the time of its time servers, see `corten time`.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: not_yet,
    },
    Diagnosis {
        id: "identity-refused",
        title: "The machine and you do not know each other.",
        why: "The client configuration belongs to another cluster, the machine has been reset and is another one now, or it has \
              a configuration and nobody of its cluster has signed a certificate for it yet.",
        remedy: &[
            "Look with `corten config info` whether the context is that of the machine's cluster, and choose another with --context.",
            "If the machine waits for a configuration, ask it with --insecure.",
            "If it is a worker that was configured just now, its console says what it waits for: its endpoint (cluster.controlPlane.endpoint), machine.token and machine.ca have to be those of a control plane that runs.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: stranger,
    },
    Diagnosis {
        id: "unreachable",
        title: "The machine does not answer.",
        why: "It is off, has another address, or something between you and port 50000 does not let you through.",
        remedy: &[
            "Look at the machine's console: it shows its addresses and what it waits for.",
            "Try it through another machine of the cluster: -e names whom you talk to, -n whom it is for.",
            "See that TCP port 50000 is let through.",
        ],
        severity: Severity::Problem,
        after: &["certificate-expired", "certificate-not-yet-valid", "identity-refused"],
        find: unreachable,
    },
    Diagnosis {
        id: "certificate-expires-soon",
        title: "A certificate expires soon.",
        why: "After that day it is refused. Machines renew their own certificates; this one has to be renewed by somebody.",
        remedy: &["Make a new one in time: `corten config new` for a client configuration."],
        severity: Severity::Warning,
        after: &[],
        find: soon,
    },
];

fn silence(facts: &Facts, words: &[&str], what: &str) -> Option<Evidence> {
    let silence = &facts.vitals.silence;
    let is_meant = words.iter().any(|word| silence.contains(word));
    is_meant.then(|| Evidence::new(what).with(silence))
}

fn certificates<'a>(
    facts: &'a Facts,
    sentence: impl Fn(&CertificateFact, SystemTime) -> Option<String> + 'a,
) -> impl Iterator<Item = Evidence> + 'a {
    let now = facts.vitals.asked;
    let told = move |certificate: &CertificateFact| Some(Evidence::new(sentence(certificate, now?)?));
    facts.vitals.certificates.iter().filter_map(told)
}

fn expired(facts: &Facts) -> Vec<Evidence> {
    let over = |certificate: &CertificateFact, now: SystemTime| {
        let end = certificate.not_after.filter(|end| *end < now)?;
        Some(format!("{} has expired on {}", certificate.name, time(end)))
    };
    let refused =
        silence(facts, EXPIRED, "the connection is refused because of a certificate that has expired");
    certificates(facts, over).chain(refused).collect()
}

fn not_yet(facts: &Facts) -> Vec<Evidence> {
    let early = |certificate: &CertificateFact, now: SystemTime| {
        let begin = certificate.not_before.filter(|begin| *begin > now)?;
        Some(format!("{} is valid from {} on", certificate.name, time(begin)))
    };
    let refused = silence(facts, NOT_YET, "the connection is refused because of a certificate of the future");
    certificates(facts, early).chain(refused).collect()
}

fn soon(facts: &Facts) -> Vec<Evidence> {
    let ending = |certificate: &CertificateFact, now: SystemTime| {
        let end = certificate.not_after.filter(|end| *end >= now && *end < now + SOON)?;
        // A short-lived one is renewed by whoever made it so.
        let is_long = certificate.not_before.is_none_or(|begin| end > begin + 2 * SOON);
        is_long.then(|| format!("{} expires on {}", certificate.name, time(end)))
    };
    certificates(facts, ending).collect()
}

fn stranger(facts: &Facts) -> Vec<Evidence> {
    silence(facts, STRANGER, "one of you does not know who signed the other's certificate")
        .into_iter()
        .collect()
}

fn unreachable(facts: &Facts) -> Vec<Evidence> {
    let vitals = &facts.vitals;
    let silent = (!vitals.silence.is_empty()).then(|| {
        let name = if vitals.machine.is_empty() { "the machine" } else { &vitals.machine };
        Evidence::new(format!("{name} does not answer")).with(&vitals.silence)
    });
    silent.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{asked, check, check_absent, find, vitals};
    use crate::vitals::Vitals;

    fn certificate(from: i64, until: i64) -> Facts {
        let at = |days: i64| {
            let distance = Duration::from_secs(days.unsigned_abs() * 24 * 3600);
            if days < 0 { asked() - distance } else { asked() + distance }
        };
        let fact = CertificateFact {
            name: "your certificate".to_owned(),
            not_before: Some(at(from)),
            not_after: Some(at(until)),
        };
        vitals(Vitals { certificates: vec![fact], ..Vitals::default() })
    }

    #[test]
    fn a_certificate_is_told_of_before_and_after_its_time() {
        check(
            &certificate(-400, -1),
            "certificate-expired",
            "your certificate has expired on 2027-01-14T08:00:00Z",
        );
        check(
            &certificate(1, 30),
            "certificate-not-yet-valid",
            "your certificate is valid from 2027-01-16T08:00:00Z on",
        );
        check(
            &certificate(-300, 5),
            "certificate-expires-soon",
            "your certificate expires on 2027-01-20T08:00:00Z",
        );
        for id in ["certificate-expired", "certificate-not-yet-valid", "certificate-expires-soon"] {
            check_absent(&certificate(-300, 65), id);
            check_absent(&certificate(-1, 1), id);
        }
    }

    #[test]
    fn why_a_machine_is_silent_comes_before_that_it_is() {
        for (silence, id) in [
            ("invalid peer certificate: certificate expired: verification time …", "certificate-expired"),
            ("invalid peer certificate: certificate not valid yet: …", "certificate-not-yet-valid"),
            ("invalid peer certificate: UnknownIssuer", "identity-refused"),
        ] {
            let facts = vitals(Vitals { silence: silence.to_owned(), ..Vitals::default() });
            assert!(find(&facts, id).is_some_and(|found| found.because.is_empty()), "{id}");
            assert_eq!(find(&facts, "unreachable").expect("it is").because, [id]);
        }
        let silence = "Connection refused (os error 111)".to_owned();
        let away = vitals(Vitals { silence, machine: "10.5.0.2".to_owned(), ..Vitals::default() });
        check(&away, "unreachable", "10.5.0.2 does not answer");
    }
}
