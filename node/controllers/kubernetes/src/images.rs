//! What an image's name says about its content.

/// Version of Kubernetes in an image's tag as (major, minor); nothing for a digest or another kind of tag.
#[must_use]
pub fn minor_version(image: &str) -> Option<(u32, u32)> {
    let image = image.split('@').next().unwrap_or_default();
    let (_, tag) = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
    let mut parts = tag.strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_tags_only() {
        assert_eq!(minor_version("registry.k8s.io/kube-apiserver:v1.36.3"), Some((1, 36)));
        assert_eq!(minor_version("mirror:5000/kube-apiserver:v1.37.0-rc.1@sha256:00"), Some((1, 37)));
        for none in ["mirror:5000/kube-apiserver", "kube-apiserver:latest", "kube-apiserver", ""] {
            assert_eq!(minor_version(none), None, "{none}");
        }
    }
}
