//! servelab workload.
