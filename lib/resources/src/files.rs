//! Resources of the files domain.
