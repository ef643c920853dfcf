//! apid on loopback, between real TLS clients and a stand-in for machined.

mod abuse;
mod access;
mod client;
mod flow;
mod machined;
mod node;
mod rotation;
mod routing;
mod stock;
