//! What watchers were told last, as it was encoded for them: all watchers of a type are told the same.
//!
//! Encoding is most of the work of telling somebody. A change is encoded for the first watcher, and the others, who are
//! told right after, have it copied. Large resources are not kept, and of small ones only the last few, so that this
//! costs next to nothing when nobody watches.

use std::collections::VecDeque;

use corten_api::cosi::resource as wire;
use corten_resource::AnyResource;
use parking_lot::Mutex;

use crate::convert::to_wire;

/// Resources that are kept: new and old ones of a few changes.
const RESOURCES_MAX: usize = 16;
/// Bytes of the largest one that is kept, both encodings together.
const BYTES_MAX: usize = 16 * 1024;

/// The resources that were told last.
#[derive(Debug, Default)]
pub struct Told(Mutex<VecDeque<(AnyResource, wire::Resource)>>);

impl Told {
    /// The resource as a message.
    pub fn to_wire(&self, resource: &AnyResource) -> wire::Resource {
        let mut told = self.0.lock();
        if let Some((_, encoded)) = told.iter().rev().find(|(known, _)| known.is_same(resource)) {
            return encoded.clone();
        }
        let encoded = to_wire(resource);
        let bytes = encoded.spec.as_ref().map_or(0, |spec| spec.proto_spec.len() + spec.yaml_spec.len());
        if bytes <= BYTES_MAX && !is_sensitive(resource) {
            while told.len() >= RESOURCES_MAX {
                told.pop_front();
            }
            told.push_back((resource.clone(), encoded.clone()));
        }
        encoded
    }
}

/// Secrets do not outlive the resource that they are in.
fn is_sensitive(resource: &AnyResource) -> bool {
    resource.definition().is_none_or(|definition| definition.sensitive)
}

#[cfg(test)]
mod tests {
    use corten_resources::network::HostnameStatus;
    use corten_resources::secrets::OsRoot;

    use super::*;

    fn status(name: &str) -> AnyResource {
        let spec = HostnameStatus { hostname: name.to_owned(), ..HostnameStatus::default() };
        AnyResource::new("network", "hostname", spec)
    }

    #[test]
    fn each_is_encoded_as_it_is_and_the_last_are_kept() {
        let told = Told::default();
        let (one, other) = (status("one"), status("other"));
        for resource in [&one, &other, &one, &one.clone(), &status("one")] {
            assert_eq!(told.to_wire(resource), to_wire(resource));
        }
        assert_eq!(told.0.lock().len(), 3, "an equal one is not the same one");
        for number in 0..50 {
            told.to_wire(&status(&number.to_string()));
        }
        assert_eq!(told.0.lock().len(), RESOURCES_MAX);
    }

    #[test]
    fn secrets_and_large_ones_are_not_kept() {
        let told = Told::default();
        let secret = AnyResource::new("secrets", "os", OsRoot::default());
        for resource in [secret, status(&"x".repeat(BYTES_MAX))] {
            assert_eq!(told.to_wire(&resource), to_wire(&resource));
        }
        assert!(told.0.lock().is_empty());
    }
}
