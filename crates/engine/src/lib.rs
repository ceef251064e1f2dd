//! servelab engine.
