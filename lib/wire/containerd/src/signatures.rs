//! Signatures of images, as cosign keeps them: an image of their own beside the signed one, each layer a statement about
//! a digest, with its signature as an annotation.
//!
//! This finds statements and signatures; whether a key made them, and what they mean, is for others to say.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::client::Namespace;
use crate::error::Error;
use crate::reference;
use crate::transfer::PullOptions;

/// Kind of a layer that is a statement.
const STATEMENT: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation with the signature of the layer, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Signatures of one image that are looked at.
const SIGNATURES_MAX: usize = 32;

/// A statement about an image and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The statement, JSON.
    pub statement: Vec<u8>,
    /// The signature, base64.
    pub signature: String,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Namespace {
    /// The signatures of an image by digest: those that are here, or else those that its registry has.
    ///
    /// # Errors
    /// When there are none, or they cannot be read.
    pub async fn signatures(
        &self,
        image: &str,
        digest: &str,
        options: &PullOptions,
    ) -> Result<Vec<Signature>, Error> {
        let name = reference::signatures(image, digest);
        if !self.has_image(&name).await? {
            let options = PullOptions { without_layers: true, ..options.clone() };
            self.pull(&name, &options, |_| {}).await?;
        }
        let manifest = self.blob(&self.image(&name).await?.digest).await?;
        let mut signatures = Vec::new();
        for (digest, signature) in statements(&name, &manifest)? {
            signatures.push(Signature { statement: self.blob(&digest).await?, signature });
        }
        Ok(signatures)
    }
}

/// Digests and signatures of the statements of a manifest.
fn statements(name: &str, manifest: &[u8]) -> Result<Vec<(String, String)>, Error> {
    let manifest: Manifest =
        serde_json::from_slice(manifest).map_err(|error| Error::answer(name, error.to_string()))?;
    let layers = manifest.layers.into_iter().filter(|layer| layer.media_type == STATEMENT);
    let signed = layers.filter_map(|mut layer| Some((layer.digest, layer.annotations.remove(SIGNATURE)?)));
    Ok(signed.take(SIGNATURES_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signed_statements_count() {
        let manifest = format!(
            r#"{{"layers":[
                {{"mediaType":"{STATEMENT}","digest":"sha256:1","annotations":{{"{SIGNATURE}":"c2ln"}}}},
                {{"mediaType":"{STATEMENT}","digest":"sha256:2"}},
                {{"mediaType":"application/x","digest":"sha256:3","annotations":{{"{SIGNATURE}":"c2ln"}}}}
            ]}}"#
        );
        let found = statements("x", manifest.as_bytes()).expect("a manifest");
        assert_eq!(found, [("sha256:1".to_owned(), "c2ln".to_owned())]);
        assert!(statements("x", b"[").is_err());
    }

    #[test]
    fn nothing_makes_the_parser_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = statements("x", bytes);
        });
    }
}
