//! servelab load.
