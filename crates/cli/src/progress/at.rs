//! Where a run is, and the lines that tell it. Pure: whoever asks knows the time.

use super::{EVERY, words::left_within};
use servelab_schema::{Validity, WallInstant};

/// Where the run is.
#[derive(Debug)]
pub(super) struct At {
    /// The trial that runs, from 1, of so many as far as is known.
    trial: (usize, usize),
    name: String,
    /// When this trial, and when the first one, began.
    began: WallInstant,
    first_began: Option<WallInstant>,
    /// When a line was last written.
    said: WallInstant,
}

/// What came of a take, as far as a line tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Came<'t> {
    /// Name of the take.
    pub(super) id: &'t str,
    /// Whether it counts.
    pub(super) validity: &'t Validity,
    /// Requests that completed.
    pub(super) completed: u32,
    /// Requests that failed.
    pub(super) failed: u32,
}

impl At {
    pub(super) const BEFORE_THE_FIRST: Self = Self {
        trial: (0, 0),
        name: String::new(),
        began: WallInstant(0),
        first_began: None,
        said: WallInstant(0),
    };

    /// Trial `n` (from 1) of `total` begins.
    pub(super) fn begins(&mut self, now: WallInstant, (n, total): (usize, usize), name: &str) {
        self.trial = (n, total);
        name.clone_into(&mut self.name);
        self.began = now;
        self.first_began.get_or_insert(now);
    }

    /// The name of the trial that runs.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// `trial 3 of 40, about 12m30s left`. What is left is said once a trial has ended, since nobody knows before, and runs down
    /// while the trial goes on.
    pub(super) fn number(&self, now: WallInstant) -> String {
        let done = self.trial.0.saturating_sub(1);
        let spent = self.first_began.map(|first| self.began.since(first));
        let left = spent.and_then(|spent| left_within((done, self.trial.1), spent, now.since(self.began)));
        format!("{}{}", self.place(), left_words(left))
    }

    fn place(&self) -> String {
        format!("trial {} of {}", self.trial.0, self.trial.1)
    }

    /// The line about the trial that runs, where it is time for one.
    pub(super) fn due(&mut self, now: WallInstant, words: &str) -> Option<String> {
        if now.since(self.said.max(self.began)) < EVERY {
            return None;
        }
        self.said = now;
        Some(format!("{}, {}: {words}", self.number(now), self.name))
    }

    /// The line about a trial that has ended.
    pub(super) fn ended(&self, now: WallInstant, came: Came<'_>) -> String {
        let (word, goes_on) = match came.validity {
            Validity::Valid => ("valid", true),
            Validity::Invalid { .. } => ("INVALID", true),
            // Nothing comes after it.
            Validity::Aborted { .. } => ("ABORTED", false),
        };
        let spent = self.first_began.filter(|_| goes_on).map(|first| now.since(first));
        let left = spent.and_then(|spent| super::left(self.trial.0, self.trial.1, spent));
        format!(
            "{}: {} {word}, {} completed, {} failed, took {}{}",
            self.place(),
            came.id,
            came.completed,
            came.failed,
            now.since(self.began),
            left_words(left)
        )
    }
}

fn left_words(left: Option<String>) -> String {
    left.map_or_else(String::new, |left| format!(", about {left} left"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at_second(seconds: u64) -> WallInstant {
        WallInstant(seconds * 1_000_000_000)
    }

    /// The second of four trials, which began after 100 s.
    fn second_of_four() -> At {
        let mut at = At::BEFORE_THE_FIRST;
        at.begins(at_second(0), (1, 4), "t1");
        at.begins(at_second(100), (2, 4), "t2");
        at
    }

    #[test]
    fn what_is_left_runs_down_while_a_trial_goes_on() {
        let at = second_of_four();
        assert_eq!(at.number(at_second(100)), "trial 2 of 4, about 5m00s left");
        assert_eq!(at.number(at_second(160)), "trial 2 of 4, about 4m00s left");
        assert_eq!(
            at.number(at_second(900)),
            "trial 2 of 4, about 3m20s left",
            "the others still come"
        );
        let mut first = At::BEFORE_THE_FIRST;
        first.begins(at_second(0), (1, 4), "t1");
        assert_eq!(first.number(at_second(50)), "trial 1 of 4", "nobody knows yet");
    }

    #[test]
    fn a_line_comes_every_half_minute() {
        let mut at = second_of_four();
        assert_eq!(at.due(at_second(129), "words"), None);
        let line = at.due(at_second(130), "words").unwrap();
        assert_eq!(line, "trial 2 of 4, about 4m30s left, t2: words");
        assert_eq!(at.due(at_second(159), "words"), None);
        assert!(at.due(at_second(160), "words").is_some());
    }

    #[test]
    fn nothing_is_left_after_a_trial_that_was_aborted() {
        let at = second_of_four();
        let line = |validity: &Validity| {
            let came = Came {
                id: "t2",
                validity,
                completed: 6,
                failed: 1,
            };
            at.ended(at_second(200), came)
        };
        assert_eq!(
            line(&Validity::Valid),
            "trial 2 of 4: t2 valid, 6 completed, 1 failed, took 1m40s, about 3m20s left"
        );
        let aborted = line(&Validity::Aborted { why: "SIGINT".into() });
        assert_eq!(aborted, "trial 2 of 4: t2 ABORTED, 6 completed, 1 failed, took 1m40s");
    }
}
