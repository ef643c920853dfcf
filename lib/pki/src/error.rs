//! What can go wrong with keys and certificates.

/// An action on keys or certificates that failed. No text carries key material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The text is not PEM, or holds no block of the wanted kind.
    #[error("failed to read {what} from PEM: {reason}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// What was found instead.
        reason: String,
    },
    /// The bytes are not the ASN.1 structure they should be.
    #[error("failed to decode {what}")]
    Decode {
        /// The structure.
        what: &'static str,
        /// Where decoding stopped.
        #[source]
        source: x509_cert::der::Error,
    },
    /// A structure could not be written, such as a name with characters outside its alphabet.
    #[error("failed to encode {what}")]
    Encode {
        /// The structure.
        what: &'static str,
        /// What could not be represented.
        #[source]
        source: x509_cert::der::Error,
    },
    /// A key of a kind that is not supported.
    #[error("unsupported key: {0}; supported are Ed25519, ECDSA P-256 and RSA of 2048 to 8192 bits")]
    UnsupportedKey(String),
    /// The cryptographic library refused.
    #[error("failed to {action}")]
    Crypto {
        /// What was attempted.
        action: &'static str,
    },
    /// A signature does not belong to the key and bytes it came with.
    #[error("the signature of the {what} does not verify")]
    BadSignature {
        /// What was signed.
        what: &'static str,
    },
    /// Certificate and key are not a pair.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The certificate may not issue others.
    #[error("the certificate is not a certificate authority")]
    NotAnAuthority,
    /// A time that no certificate can carry.
    #[error("time is outside the range of certificates")]
    Time,
}

impl PkiError {
    pub(crate) fn decode(what: &'static str) -> impl Fn(x509_cert::der::Error) -> Self {
        move |source| Self::Decode { what, source }
    }

    pub(crate) fn encode(what: &'static str) -> impl Fn(x509_cert::der::Error) -> Self {
        move |source| Self::Encode { what, source }
    }

    pub(crate) const fn crypto(action: &'static str) -> Self {
        Self::Crypto { action }
    }
}
