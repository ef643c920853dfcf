//! Certificate requests (PKCS #10), made by workers for trustd.

use std::net::IpAddr;

use x509_cert::attr::Attribute;
use x509_cert::der::asn1::{Any, BitString, ObjectIdentifier, SetOfVec};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::extensions::{self, Facts};
use crate::{PkiError, PrivateKey, Subject, key, pem};

const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestTemplate {
    /// Who it is for.
    pub subject: Subject,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ip_addresses: Vec<IpAddr>,
}

/// A request whose signature proved that its sender holds the key.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    der: Vec<u8>,
    subject: Subject,
    spki: Vec<u8>,
    facts: Facts,
}

impl CertificateRequest {
    /// Makes and signs a request.
    pub fn create(template: &RequestTemplate, key: &PrivateKey) -> Result<Self, PkiError> {
        let encode = PkiError::encode("certificate request");
        let mut attributes = SetOfVec::new();
        if let Some(names) = extensions::names(&template.dns_names, &template.ip_addresses)? {
            let value = Any::encode_from(&ExtensionReq(vec![names])).map_err(&encode)?;
            let values = SetOfVec::try_from(vec![value]).map_err(&encode)?;
            attributes.insert(Attribute { oid: EXTENSION_REQUEST, values }).map_err(&encode)?;
        }
        let info = CertReqInfo {
            version: Version::V1,
            subject: template.subject.encode()?,
            public_key: SubjectPublicKeyInfoOwned::from_der(key.spki()).map_err(&encode)?,
            attributes,
        };
        let signature = key.sign(&info.to_der().map_err(&encode)?)?;
        let algorithm = AlgorithmIdentifierOwned::from_der(&key.algorithm().signature_identifier());
        let request = CertReq {
            info,
            algorithm: algorithm.map_err(&encode)?,
            signature: BitString::from_bytes(&signature).map_err(&encode)?,
        };
        Self::from_der(&request.to_der().map_err(&encode)?)
    }

    /// Reads DER and checks the signature.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let decode = PkiError::decode("certificate request");
        let bad = || PkiError::BadSignature { what: "certificate request" };
        let request = CertReq::from_der(der).map_err(&decode)?;
        let spki = request.info.public_key.to_der().map_err(&decode)?;
        let signed = request.info.to_der().map_err(&decode)?;
        key::verify(&spki, &signed, request.signature.as_bytes().ok_or_else(bad)?).map_err(|error| {
            match error {
                PkiError::BadSignature { .. } => bad(),
                other => other,
            }
        })?;
        let mut wanted = Vec::new();
        for attribute in request.info.attributes.iter().filter(|attribute| attribute.oid == EXTENSION_REQUEST)
        {
            for value in attribute.values.iter() {
                wanted.extend(value.decode_as::<ExtensionReq>().map_err(&decode)?.0);
            }
        }
        let facts = extensions::read(&wanted)?;
        Ok(Self { der: der.to_vec(), subject: Subject::decode(&request.info.subject), spki, facts })
    }

    /// Reads the first request of a PEM text and checks its signature.
    pub fn from_pem(text: &[u8]) -> Result<Self, PkiError> {
        Self::from_der(&pem::first("a certificate request", text, "CERTIFICATE REQUEST")?.1)
    }

    /// The request as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE REQUEST", &self.der)
    }

    /// Who it asks to be.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// DNS names it asks for.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.facts.dns_names
    }

    /// Addresses it asks for.
    #[must_use]
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.facts.ip_addresses
    }

    /// SubjectPublicKeyInfo of its key in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
}

#[cfg(test)]
mod tests {
    use corten_base::Rng;

    use super::*;

    #[test]
    fn a_request_survives_pem_and_a_changed_byte_is_noticed() {
        let key = PrivateKey::ed25519(&Rng::seeded(1)).unwrap();
        let template = RequestTemplate {
            subject: Subject::common_name("worker-1"),
            dns_names: vec!["worker-1".to_owned()],
            ip_addresses: vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
        };
        let request = CertificateRequest::create(&template, &key).unwrap();
        let again = CertificateRequest::from_pem(request.to_pem().as_bytes()).unwrap();
        assert_eq!(again.subject(), &template.subject);
        assert_eq!(again.dns_names(), template.dns_names);
        assert_eq!(again.ip_addresses(), template.ip_addresses);

        let at = request.der.windows(8).position(|window| window == b"worker-1").unwrap();
        let mut changed = request.der.clone();
        changed[at + 7] = b'2';
        assert!(matches!(CertificateRequest::from_der(&changed), Err(PkiError::BadSignature { .. })));
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = CertificateRequest::from_der(bytes);
            let _ = CertificateRequest::from_pem(bytes);
        });
    }
}
