//! What a controller declares; `controller!` writes these implementations.

use crate::definition::Definition;
use crate::resource::Spec;

/// How a controller depends on an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// It may hold resources with a finalizer.
    Strong,
    /// It only reads.
    Weak,
    /// It is woken when a resource is gone or may be destroyed.
    DestroyReady,
}

/// Whether other controllers may write the same type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody else may.
    Exclusive,
    /// Others may, each its own resources.
    Shared,
}

/// One input.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// Type.
    pub definition: &'static Definition,
    /// Namespace.
    pub namespace: &'static str,
    /// How.
    pub strength: Strength,
}

/// One output.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Type.
    pub definition: &'static Definition,
    /// Namespace.
    pub namespace: &'static str,
    /// Whether alone.
    pub sharing: Sharing,
}

/// Name, inputs and outputs of a controller.
pub trait Declared: Send + 'static {
    /// `domain.Name`, unique.
    const NAME: &'static str;
    /// What it reads.
    const INPUTS: &'static [Input];
    /// What it writes.
    const OUTPUTS: &'static [Output];
}

/// Permission to read a type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not declare `{R}` as an input",
    note = "add it to `inputs` of the controller's `controller!` declaration"
)]
pub trait Reads<R: Spec>: Declared {
    /// The namespace that is meant when none is given.
    const NAMESPACE: &'static str;
}

/// Permission to write a type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not declare `{R}` as an output",
    note = "add it to `outputs` of the controller's `controller!` declaration"
)]
pub trait Writes<R: Spec>: Declared {
    /// The namespace that is meant when none is given.
    const NAMESPACE: &'static str;
}
