//! Resources of the secrets domain.
