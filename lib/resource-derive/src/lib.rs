//! Derives for resource types and the `controller!` declaration.
//!
//! What is emitted is tables and one-line conversions; the codec that walks the tables lives once in
//! `corten-resource`. Errors point at the attribute that caused them.

mod controller;
mod enumeration;
mod record;
mod resource;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct a record: each field names its protobuf number and YAML key.
///
/// `#[field(1, "gateway")]`, with the flags `omitempty`, `inline` (YAML keys stand in the parent),
/// `base64` (bytes as text), `url` (a string that travels as `common.URL`), `expression` (a string that travels as
/// `CheckedExpr` of CEL) and `number_keys` (a map with keys that are numbers on the wire). Number 0 keeps a field out of protobuf, an empty key keeps it out of YAML.
#[proc_macro_derive(Record, attributes(field))]
pub fn record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    record::derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes an enum a value with a number in protobuf and a text in YAML: `#[variant(1, "failed")]`.
#[proc_macro_derive(Enumeration, attributes(variant))]
pub fn enumeration(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    enumeration::derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a struct the specification of a resource type; implies `Record`.
///
/// `#[resource(kind = "HostnameStatuses.net.talos.dev", namespace = "network", aliases("hostname"),
/// columns("Hostname" => "{.hostname}"), sensitive, scalar, yaml_string, message, internal)]`
#[proc_macro_derive(Resource, attributes(resource, field))]
pub fn resource(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    resource::derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Declares what a controller reads and writes, which is also what it is permitted to.
///
/// `controller!(Type, "domain.Name", inputs: [strong A, weak B in "namespace"], outputs: [exclusive C, shared D])`;
/// a generic controller starts with its parameters: `controller!(impl<K: Kernel> Apply<K>, …)`.
#[proc_macro]
pub fn controller(input: TokenStream) -> TokenStream {
    let declaration = parse_macro_input!(input as controller::Declaration);
    controller::expand(&declaration).unwrap_or_else(|error| error.to_compile_error()).into()
}
