//! Both sides against the libraries that everybody else uses, and the endpoint against peers that break the rules.

mod endpoint;
mod foreign;
