//! Extensions of certificates and requests: written from a few plain facts, read back into them.

use std::net::IpAddr;

use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode as _, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
};

use crate::PkiError;
use crate::authority::Usage;

const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Most names one certificate may carry.
const NAMES_MAX: usize = 1024;

fn extension(id: ObjectIdentifier, critical: bool, value: &impl Encode) -> Result<Extension, PkiError> {
    let encode = PkiError::encode("certificate extension");
    let value = value.to_der().map_err(&encode)?;
    Ok(Extension { extn_id: id, critical, extn_value: OctetString::new(value).map_err(&encode)? })
}

fn octets(bytes: &[u8]) -> Result<OctetString, PkiError> {
    OctetString::new(bytes).map_err(PkiError::encode("certificate extension"))
}

/// What an authority's own certificate says.
pub(crate) fn authority(key_id: &[u8]) -> Result<Vec<Extension>, PkiError> {
    Ok(vec![
        extension(KEY_USAGE, true, &KeyUsage(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign))?,
        extension(EXTENDED_KEY_USAGE, false, &ExtendedKeyUsage(vec![SERVER_AUTH, CLIENT_AUTH]))?,
        extension(BASIC_CONSTRAINTS, true, &BasicConstraints { ca: true, path_len_constraint: None })?,
        extension(SUBJECT_KEY_ID, false, &octets(key_id)?)?,
    ])
}

/// What a leaf says. RSA and EC keys of servers may also encipher keys, as Go's authorities state it.
pub(crate) fn leaf(
    usages: &[Usage],
    key_encipherment: bool,
    names: Option<Extension>,
    issuer_key_id: Option<&[u8]>,
) -> Result<Vec<Extension>, PkiError> {
    let usage = if key_encipherment {
        KeyUsage(KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment)
    } else {
        KeyUsage(KeyUsages::DigitalSignature.into())
    };
    let mut out = vec![extension(KEY_USAGE, true, &usage)?];
    if !usages.is_empty() {
        let oids = usages.iter().map(|usage| match usage {
            Usage::Server => SERVER_AUTH,
            Usage::Client => CLIENT_AUTH,
        });
        out.push(extension(EXTENDED_KEY_USAGE, false, &ExtendedKeyUsage(oids.collect()))?);
    }
    out.push(extension(BASIC_CONSTRAINTS, true, &BasicConstraints { ca: false, path_len_constraint: None })?);
    if let Some(id) = issuer_key_id {
        let id = AuthorityKeyIdentifier {
            key_identifier: Some(octets(id)?),
            authority_cert_issuer: None,
            authority_cert_serial_number: None,
        };
        out.push(extension(AUTHORITY_KEY_ID, false, &id)?);
    }
    out.extend(names);
    Ok(out)
}

/// Subject alternative names; none when both lists are empty.
pub(crate) fn names(dns: &[String], ips: &[IpAddr]) -> Result<Option<Extension>, PkiError> {
    if dns.is_empty() && ips.is_empty() {
        return Ok(None);
    }
    let mut all = Vec::new();
    for name in dns {
        all.push(GeneralName::DnsName(Ia5String::new(name).map_err(PkiError::encode("DNS name"))?));
    }
    for ip in ips {
        let bytes = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        all.push(GeneralName::IpAddress(octets(&bytes)?));
    }
    extension(SUBJECT_ALT_NAME, false, &SubjectAltName(all)).map(Some)
}

/// What was read from extensions; absent ones leave the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<IpAddr>,
    pub usages: Vec<Usage>,
    pub other_usages: usize,
    pub is_authority: bool,
    pub key_id: Option<Vec<u8>>,
}

pub(crate) fn read(extensions: &[Extension]) -> Result<Facts, PkiError> {
    let decode = PkiError::decode("certificate extension");
    let mut facts = Facts::default();
    for extension in extensions {
        let bytes = extension.extn_value.as_bytes();
        if extension.extn_id == SUBJECT_ALT_NAME {
            let SubjectAltName(names) = SubjectAltName::from_der(bytes).map_err(&decode)?;
            read_names(&names, &mut facts);
        } else if extension.extn_id == BASIC_CONSTRAINTS {
            facts.is_authority = BasicConstraints::from_der(bytes).map_err(&decode)?.ca;
        } else if extension.extn_id == EXTENDED_KEY_USAGE {
            let ExtendedKeyUsage(oids) = ExtendedKeyUsage::from_der(bytes).map_err(&decode)?;
            for oid in oids {
                match oid {
                    SERVER_AUTH => facts.usages.push(Usage::Server),
                    CLIENT_AUTH => facts.usages.push(Usage::Client),
                    _ => facts.other_usages += 1,
                }
            }
        } else if extension.extn_id == SUBJECT_KEY_ID {
            facts.key_id = Some(OctetString::from_der(bytes).map_err(&decode)?.into_bytes());
        }
    }
    Ok(facts)
}

fn read_names(names: &[GeneralName], facts: &mut Facts) {
    for name in names.iter().take(NAMES_MAX) {
        match name {
            GeneralName::DnsName(name) => facts.dns_names.push(name.to_string()),
            GeneralName::IpAddress(bytes) => {
                if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_bytes()) {
                    facts.ip_addresses.push(IpAddr::from(v4));
                } else if let Ok(v6) = <[u8; 16]>::try_from(bytes.as_bytes()) {
                    facts.ip_addresses.push(IpAddr::from(v6));
                }
            }
            _ => {}
        }
    }
}
