//! Resources of the block domain.
