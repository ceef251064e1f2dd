//! servelab stats.
