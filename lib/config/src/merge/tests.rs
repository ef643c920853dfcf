//! Laws and cases of the strategic merge.
