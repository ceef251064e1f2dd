//! servelab telemetry.
