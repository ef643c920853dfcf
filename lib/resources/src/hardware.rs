//! Resources of the hardware domain.
