//! servelab chat.
