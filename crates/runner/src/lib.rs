//! servelab runner.
