//! A small prompt set for those who bring none.
//!
//! Each prompt begins with words that depend on the seed and its number, so that no two share a prefix which an engine's
//! cache could answer from, however often the tasks below come round.

use servelab_random::ChaChaStream;

/// What is asked, in turn.
const TASKS: [&str; 12] = [
    "Explain in a few paragraphs how a lighthouse keeps ships safe at night, and what replaced its keepers.",
    "Write a short story about a gardener who finds an old letter under the roots of an apple tree.",
    "Compare travelling by night train with travelling by plane: time, cost, comfort and what one sees on the way.",
    "Describe how bread dough rises, from mixing to baking, for somebody who has never baked.",
    "List the steps to repair a bicycle tyre by the roadside, with the tools that each step needs.",
    "Summarise how a bill becomes law in a parliament with two chambers, and where it most often fails.",
    "Explain the difference between weather and climate to a class of twelve-year-olds, with two examples of each.",
    "Write a polite letter to a landlord about a heating system that has been broken for two weeks.",
    "Describe how a library could lend tools as well as books, and which rules it would need.",
    "Explain what an interest rate is, why it changes, and who gains and loses when it rises.",
    "Plan a week of simple suppers for a family of four that does not eat meat, with a shopping list.",
    "Tell how a city might bring back a river that was covered by a road a hundred years ago.",
];

/// Words that begin a prompt.
const WORDS: [&str; 32] = [
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "jetty", "kiosk", "lagoon",
    "meadow", "nectar", "orchid", "prairie", "quarry", "ridge", "saddle", "timber", "upland", "valley", "willow",
    "yonder", "zephyr", "anchor", "beacon", "copper", "drift", "engine", "fabric", "granite",
];

/// A turn that follows an answer in a conversation.
const FOLLOW_UPS: [&str; 6] = [
    "Go on: what would you add to that?",
    "Say the same again for a reader of ten years.",
    "Which part of that is most often misunderstood, and why?",
    "Give a concrete example of what you said last.",
    "What speaks against it?",
    "Put it all into three sentences.",
];

fn turn<T: Copy + Default>(items: &[T], n: usize) -> T {
    let index = n.checked_rem(items.len()).unwrap_or(0);
    items.get(index).copied().unwrap_or_default()
}

fn word(stream: &mut ChaChaStream) -> &'static str {
    let count = u32::try_from(WORDS.len()).unwrap_or(u32::MAX);
    let index = usize::try_from(stream.below(count)).unwrap_or(0);
    WORDS.get(index).copied().unwrap_or_default()
}

/// So many words that `seed` and `name` determine, a space before each.
#[must_use]
pub fn words(seed: u64, name: &str, n: usize) -> String {
    let mut stream = ChaChaStream::new(seed, name);
    let mut text = String::new();
    for _ in 0..n {
        text.push(' ');
        text.push_str(word(&mut stream));
    }
    text
}

/// Words that no other prompt of this seed begins with.
#[must_use]
pub fn opening(seed: u64, n: usize) -> String {
    let mut stream = ChaChaStream::new(seed, &format!("opening-{n}"));
    let words: Vec<&str> = (0..6).map(|_| word(&mut stream)).collect();
    format!("{} {n}", words.join(" "))
}

/// The `n`-th prompt of the set that `seed` determines.
#[must_use]
pub fn prompt(seed: u64, n: usize) -> String {
    prompt_of(seed, n, n)
}

/// The prompt that begins as the `n`-th does and asks for the `task`-th thing in turn.
#[must_use]
pub fn prompt_of(seed: u64, n: usize, task: usize) -> String {
    format!("Note {}.\n\n{}", opening(seed, n), turn(&TASKS, task))
}

/// What the user says after the `n`-th answer of conversation `opener`, both from 0.
#[must_use]
pub fn follow_up(opener: usize, n: usize) -> &'static str {
    turn(&FOLLOW_UPS, opener.wrapping_add(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_prompts_begin_alike() {
        let prompts: Vec<String> = (0..2000).map(|n| prompt(3, n)).collect();
        let heads: BTreeSet<&str> = prompts.iter().map(|p| p.split_once(".\n").unwrap().0).collect();
        assert_eq!(heads.len(), 2000);
        assert_eq!(prompt(3, 5), prompts[5]);
        assert_ne!(prompt(4, 5), prompts[5]);
        assert_ne!(follow_up(0, 0), follow_up(0, 1));
    }
}
