//! Resources of the time domain.
