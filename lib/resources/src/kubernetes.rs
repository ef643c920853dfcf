//! Resources of the kubernetes domain.
