//! servelab evidence.
