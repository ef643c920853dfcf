//! Many objects in order, by server-side apply.

use crate::Object;
use crate::api::Api;
use crate::client::Client;
use crate::error::Error;
use crate::object;

/// How to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Field manager.
    pub manager: String,
    /// Take fields over from other managers.
    pub force: bool,
    /// Leave objects alone that exist already.
    pub only_missing: bool,
    /// Change nothing, only tell.
    pub dry_run: bool,
}

/// What became of one object.
#[derive(Debug)]
pub struct Applied {
    /// `Kind namespace/name`.
    pub id: String,
    /// The outcome.
    pub result: Result<Outcome, Error>,
}

/// A success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there.
    Created,
    /// It was there and is different now.
    Updated,
    /// It was there as wished.
    Unchanged,
    /// It was there and was left alone.
    Skipped,
}

impl Client {
    /// Applies every object, one after another; a failure does not stop the others.
    ///
    /// An object of a kind that an earlier one has just defined may fail with [`Error::UnknownKind`] until the
    /// server serves it: apply again.
    pub async fn apply_manifests(&self, objects: &[Object], options: &ApplyOptions) -> Vec<Applied> {
        let mut results = Vec::with_capacity(objects.len());
        for object in objects {
            let result = self.apply_one(object, options).await;
            results.push(Applied { id: object::describe(object), result });
        }
        results
    }

    /// The resource and namespace of an object; objects of namespaced kinds without one are in `default`.
    ///
    /// # Errors
    /// When no resource serves its kind, or the server does not answer.
    pub async fn api_for(&self, object: &Object) -> Result<Api, Error> {
        let resource = self.resource_of(object).await?;
        let namespace = match object::namespace(object) {
            "" if resource.namespaced => Some("default"),
            "" => None,
            namespace => Some(namespace),
        };
        Ok(self.api(&resource, namespace))
    }

    async fn apply_one(&self, object: &Object, options: &ApplyOptions) -> Result<Outcome, Error> {
        let api = self.api_for(object).await?;
        let before = api.find(object::name(object)).await?;
        if before.is_some() && options.only_missing {
            return Ok(Outcome::Skipped);
        }
        let after = api.apply(object, &options.manager, options.force, options.dry_run).await?;
        Ok(match before {
            None => Outcome::Created,
            Some(before) if same(&before, &after) => Outcome::Unchanged,
            Some(_) => Outcome::Updated,
        })
    }
}

/// Equal but for the bookkeeping of managers, which a dry run rewrites.
fn same(before: &Object, after: &Object) -> bool {
    let strip = |object: &Object| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Object::as_object_mut) {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
            metadata.remove("generation");
        }
        object
    };
    strip(before) == strip(after)
}
