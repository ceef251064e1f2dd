//! Empty: see vendor/README.md.
