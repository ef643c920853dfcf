//! The controller graph.

use corten_api::inspect::inspect_service_server::InspectService;
use corten_api::inspect::{
    ControllerDependencyEdge, ControllerRuntimeDependenciesResponse, ControllerRuntimeDependency,
    DependencyEdgeType,
};
use corten_resource::{Edge, EdgeKind};
use tonic::{Request, Response, Status, async_trait};

use super::{Parts, one};

/// The service over the machine's parts.
#[derive(Clone)]
pub struct Inspect(pub Parts);

#[async_trait]
impl InspectService for Inspect {
    async fn controller_runtime_dependencies(
        &self,
        _: Request<()>,
    ) -> Result<Response<ControllerRuntimeDependenciesResponse>, Status> {
        let edges = self.0.graph.iter().map(to_wire).collect();
        let message = ControllerRuntimeDependency { edges, ..ControllerRuntimeDependency::default() };
        Ok(one(message))
    }
}

fn to_wire(edge: &Edge) -> ControllerDependencyEdge {
    let kind = match edge.kind {
        EdgeKind::OutputExclusive => DependencyEdgeType::OutputExclusive,
        EdgeKind::OutputShared => DependencyEdgeType::OutputShared,
        EdgeKind::InputStrong => DependencyEdgeType::InputStrong,
        EdgeKind::InputWeak => DependencyEdgeType::InputWeak,
        EdgeKind::InputDestroyReady => DependencyEdgeType::InputDestroyReady,
    };
    ControllerDependencyEdge {
        controller_name: edge.controller.to_owned(),
        edge_type: kind.into(),
        resource_namespace: edge.namespace.to_owned(),
        resource_type: edge.resource_type.to_owned(),
        resource_id: String::new(),
    }
}
