//! Image references, in the rules that Docker made and everybody follows.

/// The complete form of a reference: registry host, repository and a tag or digest.
///
/// `nginx` becomes `docker.io/library/nginx:latest`; a complete reference stays as it is.
#[must_use]
pub fn normalize(reference: &str) -> String {
    let (name, suffix) = split(reference);
    let name = match name.split_once('/') {
        Some((host, _)) if is_host(host) => match name.strip_prefix("index.docker.io/") {
            Some(rest) => format!("docker.io/{rest}"),
            None => name.to_owned(),
        },
        _ => format!("docker.io/{name}"),
    };
    let name = match name.strip_prefix("docker.io/") {
        Some(rest) if !rest.contains('/') => format!("docker.io/library/{rest}"),
        _ => name,
    };
    if suffix.is_empty() { format!("{name}:latest") } else { format!("{name}{suffix}") }
}

/// A complete reference by digest instead of tag; one that has a digest already keeps it.
#[must_use]
pub fn pinned(reference: &str, digest: &str) -> String {
    match split(reference) {
        (_, suffix) if suffix.contains('@') => reference.to_owned(),
        (name, _) => format!("{name}@{digest}"),
    }
}

/// Where the signatures of an image are: a tag that is made of its digest, in the same repository (cosign's rule).
#[must_use]
pub fn signatures(reference: &str, digest: &str) -> String {
    let (name, _) = split(reference);
    format!("{name}:{}.sig", digest.replacen(':', "-", 1))
}

/// Registry host of a complete reference, as mirrors are configured for it.
#[must_use]
pub fn host(reference: &str) -> &str {
    reference.split_once('/').map_or("docker.io", |(host, _)| host)
}

/// Repository without host, and what follows it (`:tag`, `@digest` or both).
fn split(reference: &str) -> (&str, &str) {
    let digest = reference.find('@').unwrap_or(reference.len());
    let tag = match (reference[..digest].rfind(':'), reference[..digest].rfind('/')) {
        (Some(colon), Some(slash)) if colon < slash => digest,
        (Some(colon), _) => colon,
        (None, _) => digest,
    };
    reference.split_at(tag)
}

fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_stand_beside_their_image() {
        for reference in
            ["r.example:5000/a/b:v1", "r.example:5000/a/b@sha256:12", "r.example:5000/a/b:v1@sha256:12"]
        {
            assert_eq!(signatures(reference, "sha256:12"), "r.example:5000/a/b:sha256-12.sig");
        }
    }

    #[test]
    fn completes_what_is_missing() {
        for (short, complete) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("grafana/grafana", "docker.io/grafana/grafana:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("registry:5000/a", "registry:5000/a:latest"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            ("quay.io/a/b@sha256:00", "quay.io/a/b@sha256:00"),
            ("quay.io/a/b:1@sha256:00", "quay.io/a/b:1@sha256:00"),
        ] {
            assert_eq!(normalize(short), complete);
        }
        assert_eq!(host("registry:5000/a:1"), "registry:5000");
    }

    #[test]
    fn a_digest_takes_the_place_of_a_tag() {
        assert_eq!(pinned("registry:5000/a:1", "sha256:00"), "registry:5000/a@sha256:00");
        assert_eq!(pinned("quay.io/a/b@sha256:11", "sha256:00"), "quay.io/a/b@sha256:11");
        assert_eq!(pinned("quay.io/a/b:1@sha256:11", "sha256:00"), "quay.io/a/b:1@sha256:11");
    }

    proptest::proptest! {
        #[test]
        fn is_stable(reference in "[a-zA-Z0-9./:@-]{0,40}") {
            let once = normalize(&reference);
            proptest::prop_assert_eq!(normalize(&once), once);
        }
    }
}
