//! Images: pulling one takes no time and keeps nothing.

use corten_api::machine::image_service_pull_response::Response as Pulled;
use corten_api::machine::image_service_server::ImageService;
use corten_api::machine::{
    ImageServiceImportRequest, ImageServiceImportResponse, ImageServiceListRequest, ImageServiceListResponse,
    ImageServicePullRequest, ImageServicePullResponse, ImageServiceRemoveRequest, ImageServiceVerifyRequest,
    ImageServiceVerifyResponse,
};
use sha2::{Digest as _, Sha256};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::absent;
use super::stream::{Reply, ready};

/// End of the names of images that no registry has, for tests of what follows from that.
const BAD: &str = "-bad";

/// Refuses an image that no registry has.
pub fn check(image: &str) -> Result<(), Status> {
    if image.is_empty() {
        return Err(Status::invalid_argument("an image reference is required"));
    }
    if image.ends_with(BAD) {
        return Err(Status::not_found(format!("{image}: not found")));
    }
    Ok(())
}

/// The service.
#[derive(Clone, Copy, Debug)]
pub struct Images;

#[async_trait]
impl ImageService for Images {
    type ListStream = Reply<ImageServiceListResponse>;
    async fn list(&self, _: Request<ImageServiceListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(ready(Vec::new())))
    }

    type PullStream = Reply<ImageServicePullResponse>;
    async fn pull(
        &self,
        request: Request<ImageServicePullRequest>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let image = request.into_inner().image_ref;
        check(&image)?;
        let digest = hex::encode(Sha256::digest(image.as_bytes()));
        let name = match image.contains('@') {
            true => image,
            false => format!("{image}@sha256:{digest}"),
        };
        Ok(Response::new(ready(vec![ImageServicePullResponse { response: Some(Pulled::Name(name)) }])))
    }

    async fn import(
        &self,
        _: Request<Streaming<ImageServiceImportRequest>>,
    ) -> Result<Response<ImageServiceImportResponse>, Status> {
        Err(absent("ImageService/Import"))
    }

    async fn remove(&self, _: Request<ImageServiceRemoveRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    async fn verify(
        &self,
        _: Request<ImageServiceVerifyRequest>,
    ) -> Result<Response<ImageServiceVerifyResponse>, Status> {
        Err(absent("ImageService/Verify"))
    }
}
