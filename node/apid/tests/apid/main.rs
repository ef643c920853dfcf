//! apid on loopback, between real TLS clients and a stand-in for machined.

mod access;
mod client;
mod flow;
mod machined;
mod node;
mod routing;
mod stock;
