//! servelab simengine.
