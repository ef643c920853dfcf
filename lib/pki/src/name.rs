//! Subjects of certificates: a common name and organizations, nothing else is used by clusters.

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::{Any, ObjectIdentifier, PrintableStringRef, SetOfVec, Utf8StringRef};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

use crate::PkiError;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// Who a certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// CN; empty when the certificate has none.
    pub common_name: String,
    /// O, in order. Talos keeps roles here, Kubernetes groups.
    pub organizations: Vec<String>,
}

impl Subject {
    /// A subject with a common name only.
    #[must_use]
    pub fn common_name(name: impl Into<String>) -> Self {
        Self { common_name: name.into(), organizations: Vec::new() }
    }

    /// A subject with organizations only.
    #[must_use]
    pub fn organizations<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { common_name: String::new(), organizations: names.into_iter().map(Into::into).collect() }
    }

    /// The same subject with an organization more.
    #[must_use]
    pub fn with_organization(mut self, name: impl Into<String>) -> Self {
        self.organizations.push(name.into());
        self
    }

    pub(crate) fn encode(&self) -> Result<Name, PkiError> {
        let encode = PkiError::encode("subject");
        let mut parts = Vec::new();
        let organizations = self.organizations.iter().map(|value| (ORGANIZATION, value));
        let common_name = (!self.common_name.is_empty()).then_some((COMMON_NAME, &self.common_name));
        for (oid, value) in organizations.chain(common_name) {
            let attribute = AttributeTypeAndValue { oid, value: text(value).map_err(&encode)? };
            let set = SetOfVec::try_from(vec![attribute]).map_err(&encode)?;
            parts.push(RelativeDistinguishedName::from(set));
        }
        Ok(RdnSequence::from(parts))
    }

    pub(crate) fn decode(name: &Name) -> Self {
        let mut subject = Self::default();
        for attribute in name.0.iter().flat_map(|part| part.0.iter()) {
            let Ok(value) = std::str::from_utf8(attribute.value.value()) else { continue };
            if attribute.oid == COMMON_NAME {
                value.clone_into(&mut subject.common_name);
            } else if attribute.oid == ORGANIZATION {
                subject.organizations.push(value.to_owned());
            }
        }
        subject
    }
}

/// PrintableString where its alphabet suffices, as Go writes it; UTF8String otherwise.
fn text(value: &str) -> Result<Any, x509_cert::der::Error> {
    match PrintableStringRef::new(value) {
        Ok(printable) => Any::encode_from(&printable),
        Err(_) => Any::encode_from(&Utf8StringRef::new(value)?),
    }
}

/// Whether two names are the same bytes, which is how verifiers chain certificates.
pub(crate) fn same(a: &Name, b: &Name) -> bool {
    matches!((a.to_der(), b.to_der()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_organizations_and_non_ascii_survive() {
        let subject =
            Subject::common_name("zürich").with_organization("os:admin").with_organization("os:reader");
        assert_eq!(Subject::decode(&subject.encode().unwrap()), subject);
        assert_eq!(Subject::default().encode().unwrap().0.len(), 0);
    }
}
