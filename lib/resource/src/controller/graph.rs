//! Who reads and writes what: the check at registration and the picture of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::declare::{Input, Output, Sharing, Strength};

/// How a controller and a type are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EdgeKind {
    /// It alone writes the type.
    OutputExclusive,
    /// It writes the type, as others do.
    OutputShared,
    /// It reads the type and may hold its resources.
    InputStrong,
    /// It reads the type.
    InputWeak,
    /// It is woken when a resource of the type may be destroyed.
    InputDestroyReady,
}

impl EdgeKind {
    /// Whether the controller writes.
    #[must_use]
    pub const fn is_output(self) -> bool {
        matches!(self, Self::OutputExclusive | Self::OutputShared)
    }
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Name of the controller.
    pub controller: &'static str,
    /// How.
    pub kind: EdgeKind,
    /// Namespace of the type.
    pub namespace: &'static str,
    /// The type.
    pub resource_type: &'static str,
}

/// Two controllers that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// One name for two.
    #[error("controller {0} is registered twice")]
    Name(&'static str),
    /// A type that one of them writes alone.
    #[error(
        "controllers {first} and {second} both write {resource_type} in {namespace:?}, which one of them claims alone"
    )]
    Conflict {
        /// Registered first.
        first: &'static str,
        /// Registered second.
        second: &'static str,
        /// The type.
        resource_type: &'static str,
        /// Its namespace.
        namespace: &'static str,
    },
    /// A type that the state does not know.
    #[error("controller {controller} uses {resource_type}, which is not registered")]
    Unknown {
        /// The controller.
        controller: &'static str,
        /// The type.
        resource_type: &'static str,
    },
}

/// Everything that is wrong with the registered controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationErrors(pub Vec<RegistrationError>);

impl std::fmt::Display for RegistrationErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("controllers do not go together")?;
        self.0.iter().try_for_each(|error| write!(f, "; {error}"))
    }
}

impl std::error::Error for RegistrationErrors {}

/// All controllers with what they read and write.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    names: BTreeSet<&'static str>,
    edges: Vec<Edge>,
}

impl Graph {
    /// Adds a controller; the conflicts with those that are there come out.
    pub(super) fn add(
        &mut self,
        controller: &'static str,
        inputs: &[Input],
        outputs: &[Output],
    ) -> Vec<RegistrationError> {
        let mut errors = Vec::new();
        if !self.names.insert(controller) {
            errors.push(RegistrationError::Name(controller));
        }
        for output in outputs {
            let kind = match output.sharing {
                Sharing::Exclusive => EdgeKind::OutputExclusive,
                Sharing::Shared => EdgeKind::OutputShared,
            };
            let edge =
                Edge { controller, kind, namespace: output.namespace, resource_type: output.definition.kind };
            errors.extend(self.edges.iter().filter_map(|other| conflict(other, &edge)));
            self.edges.push(edge);
        }
        for input in inputs {
            let kind = match input.strength {
                Strength::Strong => EdgeKind::InputStrong,
                Strength::Weak => EdgeKind::InputWeak,
                Strength::DestroyReady => EdgeKind::InputDestroyReady,
            };
            self.edges.push(Edge {
                controller,
                kind,
                namespace: input.namespace,
                resource_type: input.definition.kind,
            });
        }
        errors
    }

    /// Names of all controllers, sorted.
    pub fn controllers(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied()
    }

    /// Whether there is a controller of this name.
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        self.names.contains(controller)
    }

    /// All connections, in order of registration, outputs first.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The picture in Graphviz's language: boxes are controllers, ellipses are types.
    #[must_use]
    pub fn graphviz(&self) -> String {
        let mut edges: Vec<&Edge> = self.edges.iter().collect();
        edges.sort();
        let mut out = String::from("digraph controllers {\n  rankdir=LR;\n");
        for name in &self.names {
            let _ = writeln!(out, "  \"{name}\" [shape=box];");
        }
        for Edge { controller, kind, namespace, resource_type } in edges {
            let resource = format!("{resource_type}@{namespace}");
            let _ = match kind {
                EdgeKind::OutputExclusive => {
                    writeln!(out, "  \"{controller}\" -> \"{resource}\" [style=bold];")
                }
                EdgeKind::OutputShared => writeln!(out, "  \"{controller}\" -> \"{resource}\";"),
                EdgeKind::InputStrong => writeln!(out, "  \"{resource}\" -> \"{controller}\";"),
                EdgeKind::InputWeak => writeln!(out, "  \"{resource}\" -> \"{controller}\" [style=dashed];"),
                EdgeKind::InputDestroyReady => {
                    writeln!(out, "  \"{resource}\" -> \"{controller}\" [style=dotted];")
                }
            };
        }
        out.push_str("}\n");
        out
    }
}

fn conflict(first: &Edge, second: &Edge) -> Option<RegistrationError> {
    let is_same = first.namespace == second.namespace && first.resource_type == second.resource_type;
    let is_claimed = first.kind == EdgeKind::OutputExclusive || second.kind == EdgeKind::OutputExclusive;
    (is_same && is_claimed && first.kind.is_output() && first.controller != second.controller).then_some(
        RegistrationError::Conflict {
            first: first.controller,
            second: second.controller,
            resource_type: second.resource_type,
            namespace: second.namespace,
        },
    )
}
