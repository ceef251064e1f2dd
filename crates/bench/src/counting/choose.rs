//! Which counter counts, and the check of what it says.

use super::{CountError, Counter, Door, Local, tokenize::Tokenize, usage::Usage};
use crate::{
    text::{Lengths, Lexicon, Maker, Wants, learn},
    tokens::TokenRange,
};
use std::num::NonZeroU32;

/// Longest prompt of the check, in tokens.
const CHECKED_TOKENS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4095);

/// A prompt that every server can count.
pub(super) const SHORT: &str = "A";

/// Numbers of the prompts of the check: no load has them.
const CHECKED: u64 = u64::MAX - 1;

/// What prompts can be made of for the server behind `door`: by the tokenizer where one is given, else by the server's
/// `/tokenize`, else by its usage; by nobody where it counts nothing.
///
/// # Errors
/// [`CountError`] where the server does not answer, or a tokenizer that was given is not the server's.
pub(crate) fn lexicon(door: &Door<'_>, tokenizer: Option<&Local>, wants: Wants) -> Result<Lexicon, CountError> {
    let usage = Usage::new(door);
    if let Some(local) = tokenizer {
        let lexicon = checked(local, wants)?;
        return match refuted(&lexicon, &usage, wants)? {
            Some((counted, expected)) => Err(CountError::AnotherTokenizer { counted, expected }),
            None => Ok(lexicon.after(door.sent())),
        };
    }
    // A page that leaves out the template, or counts otherwise than the engine, is no help.
    if let Some(tokenize) = Tokenize::find(door)?
        && let Ok(lexicon) = checked(&tokenize, wants)
        && refuted(&lexicon, &usage, wants)?.is_none()
    {
        return Ok(lexicon.after(door.sent()));
    }
    let lexicon = if usage.given(&[SHORT.to_owned()])?.iter().all(Option::is_some) {
        checked(&usage, wants)?
    } else {
        Lexicon::uncounted()
    };
    Ok(lexicon.after(door.sent()))
}

/// Prompts as a load has them, but of numbers that no load has: a short one, and the longest that is wanted.
fn samples(lexicon: &Lexicon, wants: Wants) -> Result<[(String, NonZeroU32); 2], CountError> {
    let maker = Maker::new(wants.seed, lexicon, &[])?;
    let shortest = lexicon.shortest();
    let longest = wants.longest.min(CHECKED_TOKENS).max(shortest);
    let sample = |number, tokens| -> Result<_, CountError> {
        let lengths = Lengths {
            input: TokenRange::exactly(tokens),
            shared_prefix: 0,
        };
        Ok((maker.made(number, lengths)?.text, tokens))
    };
    Ok([
        sample(CHECKED, shortest.saturating_add(1))?,
        sample(CHECKED + 1, longest)?,
    ])
}

/// What `counter` teaches, once it has counted whole prompts as the sum of their parts.
fn checked(counter: &dyn Counter, wants: Wants) -> Result<Lexicon, CountError> {
    let lexicon = learn(counter, wants)?;
    let (texts, sums): (Vec<String>, Vec<NonZeroU32>) = samples(&lexicon, wants)?.into_iter().unzip();
    let mut pairs = counter.count(&texts)?.into_iter().zip(sums);
    match pairs.find(|(counted, sum)| counted != sum) {
        Some((counted, expected)) => Err(CountError::NotTheSum {
            counter: counter.by(),
            counted,
            expected,
        }),
        None => Ok(lexicon),
    }
}

/// What a real answer counts otherwise, and what was expected of it; none where it agrees, or the server counts nothing.
fn refuted(lexicon: &Lexicon, usage: &Usage<'_>, wants: Wants) -> Result<Option<(NonZeroU32, NonZeroU32)>, CountError> {
    let [_, (text, expected)] = samples(lexicon, wants)?;
    let counted = usage.given(&[text])?.into_iter().flatten().next();
    Ok(counted.filter(|n| *n != expected).map(|counted| (counted, expected)))
}
