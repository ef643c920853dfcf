//! Containers that the machine runs beside Kubernetes.

use corten_resource::{Enumeration, Record, Resource};

/// A mount that a container wants.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ContainerMountSpec {
    /// `userVolume`, `tmpfs` or `hostPath`.
    #[field(1, "kind")]
    pub kind: String,
    /// Volume.
    #[field(2, "volumeID", omitempty)]
    pub volume_id: String,
    /// Path of the machine.
    #[field(3, "source", omitempty)]
    pub source: String,
    /// Path in the container.
    #[field(4, "destination")]
    pub destination: String,
    /// Bytes of memory.
    #[field(5, "size", omitempty)]
    pub size: u64,
    /// Mount options.
    #[field(6, "options", omitempty)]
    pub options: Vec<String>,
}

/// A mount of a container with everything that was looked up.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ResolvedMount {
    /// `userVolume`, `tmpfs` or `hostPath`.
    #[field(1, "kind")]
    pub kind: String,
    /// Path of the machine.
    #[field(2, "source", omitempty)]
    pub source: String,
    /// Path in the container.
    #[field(3, "destination")]
    pub destination: String,
    /// Bytes of memory.
    #[field(4, "size", omitempty)]
    pub size: u64,
    /// Mount options.
    #[field(5, "options", omitempty)]
    pub options: Vec<String>,
}

/// Who a container runs as.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ContainerRunAs {
    /// User.
    #[field(1, "uid", omitempty)]
    pub uid: Option<i32>,
    /// Group.
    #[field(2, "gid", omitempty)]
    pub gid: Option<i32>,
}

/// What a container may do.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ContainerSecurity {
    /// Everything.
    #[field(1, "privileged", omitempty)]
    pub privileged: bool,
    /// Capabilities that it gets.
    #[field(2, "capabilitiesAdd", omitempty)]
    pub capabilities_add: Vec<String>,
    /// Capabilities that it loses.
    #[field(3, "capabilitiesDrop", omitempty)]
    pub capabilities_drop: Vec<String>,
}

/// Network of a container.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ContainerNetwork {
    /// It has that of the machine.
    #[field(1, "hostNetwork", omitempty)]
    pub host_network: bool,
}

/// Bounds of a container.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ContainerResources {
    /// Bytes.
    #[field(1, "memoryLimit", omitempty)]
    pub memory_limit: u64,
    /// Thousandths of a processor.
    #[field(2, "cpuLimit", omitempty)]
    pub cpu_limit: u64,
}

/// What must be there before a container starts.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ContainerDependsOn {
    /// Paths of the machine.
    #[field(1, "paths", omitempty)]
    pub paths: Vec<String>,
    /// Conditions of the network.
    #[field(2, "networks", omitempty)]
    pub networks: Vec<String>,
    /// The clock is set.
    #[field(3, "time", omitempty)]
    pub time: bool,
    /// Other containers.
    #[field(4, "containers", omitempty)]
    pub containers: Vec<String>,
}

/// Image of a container.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ContainerImage {
    /// Reference.
    #[field(1, "ref", omitempty)]
    pub reference: String,
}

/// A container that should run; the id is its name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "ContainerSpecs.containers.talos.dev",
    namespace = "containers",
    aliases("containerspec", "containerspecs")
)]
pub struct ContainerSpec {
    /// Image.
    #[field(1, "image")]
    pub image: ContainerImage,
    /// Program.
    #[field(2, "entrypoint", omitempty)]
    pub entrypoint: Vec<String>,
    /// Arguments.
    #[field(3, "args", omitempty)]
    pub args: Vec<String>,
    /// Folder that it starts in.
    #[field(4, "workingDir", omitempty)]
    pub working_dir: String,
    /// Who it runs as.
    #[field(5, "runAs", omitempty)]
    pub run_as: ContainerRunAs,
    /// `KEY=value`.
    #[field(6, "environment", omitempty)]
    pub environment: Vec<String>,
    /// Mounts.
    #[field(7, "mounts", omitempty)]
    pub mounts: Vec<ContainerMountSpec>,
    /// What it may do.
    #[field(8, "security", omitempty)]
    pub security: ContainerSecurity,
    /// Network.
    #[field(9, "network", omitempty)]
    pub network: ContainerNetwork,
    /// Bounds.
    #[field(10, "resources", omitempty)]
    pub resources: ContainerResources,
    /// What must be there first.
    #[field(11, "dependsOn", omitempty)]
    pub depends_on: ContainerDependsOn,
}

/// How far the image of a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ContainerImagePhase {
    /// Not begun.
    #[default]
    #[variant(0, "pending")]
    Pending,
    /// Being pulled.
    #[variant(1, "pulling")]
    Pulling,
    /// There.
    #[variant(2, "ready")]
    Ready,
    /// It could not be had.
    #[variant(3, "failed")]
    Failed,
}

/// The image of a container; the id is the container's name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ContainerImageStatuses.containers.talos.dev", namespace = "containers",
    aliases("containerimagestatus", "containerimagestatuses"), columns("Phase" => "{.phase}", "Image" => "{.image}"))]
pub struct ContainerImageStatus {
    /// How far it is.
    #[field(1, "phase")]
    pub phase: ContainerImagePhase,
    /// Reference.
    #[field(2, "image")]
    pub image: String,
    /// Digest.
    #[field(3, "digest", omitempty)]
    pub digest: String,
    /// Why it could not be had.
    #[field(4, "error", omitempty)]
    pub error: String,
}

/// One execution of a container; the id is the container's name and the number of the execution.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "ContainerInstanceSpecs.containers.talos.dev",
    namespace = "containers",
    aliases("containerinstancespec", "containerinstancespecs")
)]
pub struct ContainerInstanceSpec {
    /// Name of the container.
    #[field(1, "containerID")]
    pub container_id: String,
    /// Number of the execution.
    #[field(2, "generation")]
    pub generation: u64,
    /// Image by digest.
    #[field(3, "image")]
    pub image: String,
    /// Program.
    #[field(4, "entrypoint", omitempty)]
    pub entrypoint: Vec<String>,
    /// Arguments.
    #[field(5, "args", omitempty)]
    pub args: Vec<String>,
    /// Folder that it starts in.
    #[field(6, "workingDir", omitempty)]
    pub working_dir: String,
    /// Who it runs as.
    #[field(7, "runAs", omitempty)]
    pub run_as: ContainerRunAs,
    /// `KEY=value`.
    #[field(8, "environment", omitempty)]
    pub environment: Vec<String>,
    /// Mounts.
    #[field(9, "mounts", omitempty)]
    pub mounts: Vec<ResolvedMount>,
    /// What it may do.
    #[field(10, "security", omitempty)]
    pub security: ContainerSecurity,
    /// Network.
    #[field(11, "network", omitempty)]
    pub network: ContainerNetwork,
    /// Bounds.
    #[field(12, "resources", omitempty)]
    pub resources: ContainerResources,
}
