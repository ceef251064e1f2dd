//! servelab matrix.
