//! Output tokens that arrived inside the held window.

use servelab_schema::{Trace, Window};

/// Counted trace by trace.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TokensInWindow {
    tokens: u64,
    requests: u32,
    unknown: bool,
}

impl TokensInWindow {
    /// Counts tokens that arrived after the window's start and not after its end.
    pub(crate) fn add(&mut self, held: Window, trace: &Trace) {
        let mut any = false;
        let inside = trace
            .token_arrivals()
            .filter(|(at, _)| *at > held.start_ns && *at <= held.end_ns);
        for (_, n) in inside {
            self.tokens += u64::from(n);
            any = true;
            self.unknown |= n == 0;
        }
        self.requests += u32::from(any);
    }

    /// Tokens and the requests they are of; none where no token arrived or a timeline without token counts touches the window.
    pub(crate) fn known(self) -> Option<(u64, u32)> {
        (self.requests > 0 && !self.unknown).then_some((self.tokens, self.requests))
    }
}
