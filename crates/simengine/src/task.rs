//! What a prompt asks for, read off its instruction words; speculation succeeds by task. Knows nothing of the dataset.

/// The kind of work a prompt asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Condense a text: the output repeats the prompt's phrases.
    Summarisation,
    /// Answer from a text: the output quotes it briefly.
    Qa,
    /// Continue a conversation: little is repeated.
    Dialogue,
    /// Anything else.
    Other,
}

/// Words that mark a task, as they stand in instructions. A prompt's task is the one whose markers weigh most in its first and
/// last 250 bytes, where instructions stand; the last count three times, ties go to the earlier line.
const MARKERS: [(Task, &[&str]); 3] = [
    (Task::Summarisation, &["summar", "condense", "main points", "in brief"]),
    (
        Task::Qa,
        &["question", "answer", "what is", "exact words", "according to"],
    ),
    (
        Task::Dialogue,
        &["dialogue", "conversation", "reply", "respond", "says next", "chat"],
    ),
];

impl Task {
    /// The task of a prompt.
    #[must_use]
    pub fn of(prompt: &str) -> Self {
        let edge = 250;
        let mut head_end = prompt.len().min(edge);
        while !prompt.is_char_boundary(head_end) {
            head_end -= 1;
        }
        let mut tail_start = prompt.len().saturating_sub(edge).max(head_end);
        while !prompt.is_char_boundary(tail_start) {
            tail_start += 1;
        }
        let head = prompt.get(..head_end).unwrap_or("").to_lowercase();
        let tail = prompt.get(tail_start..).unwrap_or("").to_lowercase();
        let mut best = (Self::Other, 0);
        for (task, markers) in MARKERS {
            let hits: usize = markers
                .iter()
                .map(|m| head.matches(m).count() + 3 * tail.matches(m).count())
                .sum();
            if hits > best.1 {
                best = (task, hits);
            }
        }
        best.0
    }

    /// Median length of an answer that ends by itself, in tokens.
    #[must_use]
    pub fn median_output_tokens(self) -> f64 {
        match self {
            Self::Summarisation => 150.0,
            Self::Qa => 24.0,
            Self::Dialogue => 60.0,
            Self::Other => 100.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruction_words_decide() {
        for (prompt, task) in [
            (
                "Summarise the following article in three sentences.\n\nIt was a dark night.",
                Task::Summarisation,
            ),
            (
                "Context: …\n\nQuestion: What is the capital of Chad?\nAnswer:",
                Task::Qa,
            ),
            (
                "Continue the conversation below with one reply.\nA: hello\nB: hi",
                Task::Dialogue,
            ),
            ("Write one sentence about the sea.", Task::Other),
            ("", Task::Other),
        ] {
            assert_eq!(Task::of(prompt), task, "{prompt}");
        }
        // Only the edges are read, and never inside a character.
        let long = format!("{}summary{}", "é".repeat(2_000), "é".repeat(2_000));
        assert_eq!(Task::of(&long), Task::Other);
    }
}
