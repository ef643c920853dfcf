//! Resources of the service domain.
