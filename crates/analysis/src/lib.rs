//! servelab analysis.
