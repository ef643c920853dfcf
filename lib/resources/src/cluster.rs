//! Resources of the cluster domain.
