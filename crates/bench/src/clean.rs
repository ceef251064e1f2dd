//! A server's words before anybody sees them: without secrets, without what commands a terminal.

use servelab_engine::redact::Secrets;
use servelab_schema::{Outcome, Trace, foreign::plain};

/// What is taken out of a server's words: the secrets of the environment, the key, and the values of the headers that were
/// sent, which a server may repeat in a refusal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clean(Secrets);

impl Clean {
    /// Takes these secrets out, besides what has the form of one.
    #[must_use]
    pub(crate) const fn of(secrets: Secrets) -> Self {
        Self(secrets)
    }

    /// The text for people.
    #[must_use]
    pub(crate) fn text(&self, said: &str) -> String {
        // A control character inside a secret would hide it, so the plain text is what is looked through.
        self.0.redact(&plain(said))
    }

    /// The trace with its words cleaned. The hash of a text stays that of what the server said.
    #[must_use]
    pub(crate) fn trace(&self, trace: &Trace) -> Trace {
        let mut clean = trace.clone();
        match &mut clean.outcome {
            // A detail is cut off: its end may be the beginning of a secret.
            Outcome::Failed(failure) => failure.detail = self.0.redact_cut(&plain(&failure.detail)),
            Outcome::Completed(completion) => {
                if let Some(text) = completion.text().map(|text| self.text(text)) {
                    clean.outcome = Outcome::Completed(completion.clone().with_text(Some(text)));
                }
            }
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::examples;

    #[test]
    fn words_lose_secrets_and_commands() {
        let clean = Clean::of(Secrets::default().and("s3cret-of-some-length"));
        assert_eq!(
            clean.text("\u{1b}[31mno s3cret-of-\u{7}some-length\n"),
            "[31mno [redacted]\n"
        );
    }

    #[test]
    fn a_failure_s_detail_may_end_within_a_secret() {
        let clean = Clean::of(Secrets::default().and("s3cret-of-some-length"));
        let mut trace = examples::failed_trace();
        let Outcome::Failed(failure) = &mut trace.outcome else {
            panic!()
        };
        failure.detail = "401: s3cret-of-some\u{1b}".to_owned();
        let Outcome::Failed(after) = clean.trace(&trace).outcome else {
            panic!()
        };
        assert_eq!(after.detail, "401: [redacted]");
    }
}
