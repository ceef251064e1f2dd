//! servelab store.
