//! servelab report.
