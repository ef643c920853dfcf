//! The factory as the manager's API knows it.

use corten_fleet_api::management::{Answering, FactoryUrls, ImageFactory};
use corten_fleet_schematic::Schematic;
use http::StatusCode;
use tonic::Status;

use crate::factory::Factory;
use crate::order::able;
use crate::trouble::Cause;

impl ImageFactory for Factory {
    fn urls(&self) -> FactoryUrls {
        self.reached_at().clone()
    }

    fn register<'a>(&'a self, schematic: &'a Schematic, version: &'a str) -> Answering<'a, ()> {
        Box::pin(async move {
            able(schematic).map_err(refused)?;
            self.bases().check(version).map_err(refused)?;
            self.keep(schematic.clone()).await.map_err(refused)
        })
    }
}

/// A refusal as gRPC has it.
fn refused(cause: Cause) -> Status {
    let text = corten_base::chain(&cause);
    match cause.status() {
        StatusCode::NOT_FOUND => Status::not_found(text),
        StatusCode::UNPROCESSABLE_ENTITY => Status::invalid_argument(text),
        StatusCode::INSUFFICIENT_STORAGE => Status::resource_exhausted(text),
        StatusCode::SERVICE_UNAVAILABLE => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::factory::testing::factory;

    #[tokio::test]
    async fn what_no_image_can_have_is_refused_before_it_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (factory, version) = factory(folder.path(), 1 << 30);
        let schematic = |text: &str| Schematic::parse(text).expect("a schematic");
        let plain = schematic("customization: {extraKernelArgs: [a]}");
        factory.register(&plain, &version).await.expect("kept");
        assert!(factory.schematic(plain.id().as_str()).await.is_ok());
        let status = factory.register(&plain, "9.9.9").await.expect_err("no such version");
        assert!(status.code() == Code::NotFound && status.message().contains(&version), "{status}");
        let extended = schematic("customization: {systemExtensions: {officialExtensions: [a/b]}}");
        let status = factory.register(&extended, "").await.expect_err("an extension");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(factory.schematic(extended.id().as_str()).await.is_err());
    }
}
