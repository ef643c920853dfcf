//! Tests of PGP keys. The keys below were made by GnuPG at 1,700,000,000 seconds.

use std::panic::AssertUnwindSafe;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::Rng;

use super::super::ServiceAccountKey;
use super::*;
use crate::identity::ServiceAccount;

/// `Kim (laptop) <Kim@example.com>` for four hours, with a subkey that encrypts.
const KIM: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEZVPxABYJKwYBBAHaRw8BAQdAfd96jCXTpTSYg0EDrkyEn0VehlSoQ/TLPP0/
4YaCBwC0HktpbSAobGFwdG9wKSA8S2ltQGV4YW1wbGUuY29tPoiWBBMWCAA+FiEE
AvRqhXtLJmn598r48Uei/X8lFugFAmVT8QACGwMFCQAAOEAFCwkIBwIGFQoJCAsC
BBYCAwECHgECF4AACgkQ8Uei/X8lFuib+wEArv6OsZkIvHn4lJtmhf4vVqvyo9z8
ZmRa0wOX0YrY40IA/Rb5LfLydqyk4AzWQ+sWaUGGUuK6B8pKwuHgqA6YKKYCuDgE
ZVPxABIKKwYBBAGXVQEFAQEHQH8FHNziduy1i73sJATG6U4qCGnrGLQgez0tIbHV
GENCAwEIB4h+BBgWCAAmFiEEAvRqhXtLJmn598r48Uei/X8lFugFAmVT8QACGwwF
CQAAOEAACgkQ8Uei/X8lFug2ZQEA2UigNLTHYCf7sAicm6pp7NY8QMdCTWTjgZQ8
Fd5ZzV4BAJ/RmOLWhd1dp4ciW22tPBI82wDHwcnYiPd7AGNPVhAF
=wbAy
-----END PGP PUBLIC KEY BLOCK-----
";
const KIM_ID: &str = "02f46a857b4b2669f9f7caf8f147a2fd7f2516e8";
/// Over `call`.
const KIM_SIGNATURE: &str = "iIYEABYIAC4WIQQC9GqFe0smafn3yvjxR6L9fyUW6AUCZVPxABAca2ltQGV4YW1wbGUuY29tAAoJEPFH\
    ov1/JRboMuUA/2sRlr4ivDM/goGlK9i/AoIEeADoCbBTgY868IWGI4DKAQCPBb50eg0uPxS6FxZMYNGnVi7zDP8AhQ+qp9k48NhvDw==";
/// Without an end.
const FOREVER: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEZVPxABYJKwYBBAHaRw8BAQdAJId2Q8fVdMttLWVUkZD37MGGuiWg1K1VAT7I
mMvRoAO0IktpbSAobGFwdG9wKSA8Zm9yZXZlckBleGFtcGxlLmNvbT6IkAQTFggA
OBYhBOoMMdDmT+YzrHWKhjWMDpE8TrvZBQJlU/EAAhsDBQsJCAcCBhUKCQgLAgQW
AgMBAh4BAheAAAoJEDWMDpE8TrvZ2j4A/2YyA0LTR0Id8hs5ad34eS0oD1L1VpAo
YgIebanB+rjDAQDlUPLSmvml/7qCXvmoZA4UfZcnvLU9aobynq1peE8dDw==
=YLAK
-----END PGP PUBLIC KEY BLOCK-----
";
/// ECDSA on P-256.
const NIST: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----

mFIEZVPxABMIKoZIzj0DAQcCAwQd4OeFQLe+53xAJ9MMpK0bg8VxFl/yIlo3GzvH
FEs7JBfZtHWCG3GU4D4mPhr9TenvLoibNuH9dUV3j3dPisHWtB9LaW0gKGxhcHRv
cCkgPG5pc3RAZXhhbXBsZS5jb20+iJYEExMIAD4WIQRqkmiRPQ4h3H+PTouEsJdz
7zVINgUCZVPxAAIbAwUJAAA4QAULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAKCRCE
sJdz7zVINk/fAP9apH9OTOGAvqPFPD2h0qVJIFQx9A26GUK9gq1jPgBqRgD/anh6
dDHWaeZATYlfeYqU51mNi2Xnh4iwhZ5duZTTMSQ=
=SMql
-----END PGP PUBLIC KEY BLOCK-----
";
/// With a revocation.
const REVOKED: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEZVPxABYJKwYBBAHaRw8BAQdAX1s4NSgbPEMxNpyp1LAIaf1DljQs6x5u4zVS
1mCBHJGIeAQgFggAIBYhBDQQsc+4YnN+hHLdoZD0mvU9zPx5BQJlU/EAAh0AAAoJ
EJD0mvU9zPx5FvIBAKXSZAvtDXheNMem5moCXNKYOmwGKI6YE184L7QpS+F8AQCC
mDL0C8xGvdxL6b0GBVNXXVAN9XpacnUX8aEPM9rrAbQiS2ltIChsYXB0b3ApIDxy
ZXZva2VkQGV4YW1wbGUuY29tPoiWBBMWCAA+FiEENBCxz7hic36Ect2hkPSa9T3M
/HkFAmVT8QACGwMFCQAAOEAFCwkIBwIGFQoJCAsCBBYCAwECHgECF4AACgkQkPSa
9T3M/HkNoQEA9Zb1D3YuHEVHnlo/9AzdpCkBpF/ARuz7zei909TEb1YBAPQlF+k3
vYQ/qeSOFAR2lVP5I2wIAdctMgiy8QOL6XgM
=yGfa
-----END PGP PUBLIC KEY BLOCK-----
";
/// With two user ids.
const TWO: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEZVPxABYJKwYBBAHaRw8BAQdAHHEJvaApHHpFYFtRFCXmjZMdVhEqo1IuMiCH
IqVOX+q0HktpbSAobGFwdG9wKSA8dHdvQGV4YW1wbGUuY29tPoiWBBMWCAA+FiEE
DjHhawtKXGfqs4aBufh1Pd49sqUFAmVT8QACGwMFCQAAOEAFCwkIBwIGFQoJCAsC
BBYCAwECHgECF4AACgkQufh1Pd49sqVtNwD+I42epMioD7W6Vz8IGFW4j2JCQ0DC
ktGWbMPCfEwEl0cBANnUcGXFAOfldbtRoL0xsdpwrI6QAtzjQDqURRGZ9DEFtBFv
dGhlckBleGFtcGxlLmNvbYiWBBMWCAA+FiEEDjHhawtKXGfqs4aBufh1Pd49sqUF
AmVT8QACGwMFCQAAOEAFCwkIBwIGFQoJCAsCBBYCAwECHgECF4AACgkQufh1Pd49
sqU9WwD/U1ulZX+l3HLv4auzqyOkYpPtMCx5ixLgRznkZvuDXs8A/0GIgC6R7od8
kC/ydThFeQBMcrS8UoGCMPNM064CCxsO
=DuE8
-----END PGP PUBLIC KEY BLOCK-----
";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn account() -> ServiceAccountKey {
    let account = ServiceAccount::Plain("ci".to_owned());
    let lifetime = Duration::from_secs(3600);
    ServiceAccountKey::generate(&account, lifetime, &Rng::seeded(1), now()).expect("a key")
}

fn read(armored: &str) -> Result<PgpKey, KeyError> {
    PgpKey::read(armored.as_bytes())
}

#[test]
fn a_key_tells_its_fingerprint_its_address_and_its_times() {
    let key = read(KIM).expect("read");
    assert_eq!(key.id(), KIM_ID);
    assert_eq!(key.email().as_str(), "kim@example.com");
    assert_eq!(key.validity(), Validity { begin: now(), end: now() + Duration::from_secs(4 * 3600) });
}

#[test]
fn a_signature_of_another_program_fits_its_bytes_only() {
    let key = read(KIM).expect("read");
    let signature = STANDARD.decode(KIM_SIGNATURE).expect("base64");
    assert!(key.verify(b"call", &signature, now()).is_some());
    assert_eq!(key.verify(b"cal", &signature, now()), None);
    assert_eq!(key.verify(b"call", &signature[1..], now()), None);
    let other = account().public().expect("public");
    assert_eq!(other.verify(b"call", &signature, now()), None);
}

#[test]
fn a_signature_of_the_future_is_refused() {
    let key = read(KIM).expect("read");
    let signature = STANDARD.decode(KIM_SIGNATURE).expect("base64");
    assert!(key.verify(b"call", &signature, now() - SKEW).is_some());
    assert_eq!(key.verify(b"call", &signature, now() - SKEW - Duration::from_secs(1)), None);
}

#[test]
fn a_key_that_may_not_sign_calls_is_refused() {
    assert!(matches!(read(FOREVER), Err(KeyError::NoLifetime)));
    assert!(matches!(read(NIST), Err(KeyError::Algorithm)));
    assert!(matches!(read(REVOKED), Err(KeyError::Revoked)));
    assert!(matches!(read(TWO), Err(KeyError::Identities(2))));
}

#[test]
fn a_private_key_is_refused_even_in_the_wrapping_of_a_public_one() {
    let private = account().armored().expect("armored");
    let disguised = private.reveal().replace("PRIVATE KEY BLOCK", "PUBLIC KEY BLOCK");
    for text in [private.reveal(), &disguised] {
        assert!(matches!(read(text), Err(KeyError::Private)));
    }
}

#[test]
fn what_is_not_one_armored_key_is_refused() {
    let packets = dearmor(KIM.as_bytes()).expect("packets");
    let two = [packets.as_slice(), packets.as_slice()].concat();
    assert!(matches!(PgpKey::from_packets(&two), Err(KeyError::Several)));
    assert!(matches!(PgpKey::from_packets(&[]), Err(KeyError::Absent)));
    let long = "x".repeat(KEY_BYTES_MAX + 1);
    assert!(matches!(read(&long), Err(KeyError::TooLong)));
    for text in ["", "-----BEGIN PGP PUBLIC KEY BLOCK-----", &KIM[..200]] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn each_signature_has_its_own_nonce() {
    let account = account();
    let key = account.public().expect("public");
    let nonce = |seed| {
        let signature = account.sign(b"call", &Rng::seeded(seed), now()).expect("signed");
        key.verify(b"call", &signature, now()).expect("valid")
    };
    assert_eq!(nonce(2), nonce(2));
    assert_ne!(nonce(2), nonce(3));
}

#[test]
fn a_key_or_a_signature_with_a_changed_byte_is_refused_or_as_it_was() {
    let key = AssertUnwindSafe(read(KIM).expect("read"));
    let packets = dearmor(KIM.as_bytes()).expect("packets");
    let signature = STANDARD.decode(KIM_SIGNATURE).expect("base64");
    let nonce = key.verify(b"call", &signature, now());
    let changed = |bytes: &[u8], at: u16, by: u8| {
        let mut bytes = bytes.to_vec();
        let index = usize::from(at) % bytes.len();
        bytes[index] ^= by;
        bytes
    };
    bolero::check!().with_type::<(u16, u8)>().for_each(|(at, by)| {
        if let Ok(read) = PgpKey::from_packets(&changed(&packets, *at, *by)) {
            assert_eq!((read.id(), read.email()), (key.id(), key.email()));
        }
        let other = key.verify(b"call", &changed(&signature, *at, *by), now());
        assert!(other.is_none() || other == nonce);
    });
}

#[test]
fn no_bytes_make_the_reader_fall() {
    let key = AssertUnwindSafe(read(KIM).expect("read"));
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = PgpKey::read(bytes);
        let _ = PgpKey::from_packets(bytes);
        let _ = key.verify(b"call", bytes, now());
    });
}
