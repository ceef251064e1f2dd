//! Which trials of a plan somebody wants. Pure.

use servelab_schema::{Plan, PlannedBlock, PlannedTrial, Wish};

/// What `--only`, `--skip` and `--retry-invalid` ask for; by default everything that is left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    only: Vec<String>,
    skip: Vec<String>,
    pub(crate) retry_invalid: bool,
}

/// A word that names no trial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{word}` names no trial of this plan: give a variant ({variants}), a load ({loads}), a block (b01 to b{blocks:02}) or the \
         beginning of a trial's name, such as b01-02-C1"
)]
pub struct NamesNothing {
    word: String,
    variants: String,
    loads: String,
    blocks: u32,
}

impl Selection {
    /// A wish, checked: each of its words must name some trial.
    ///
    /// # Errors
    /// [`NamesNothing`] for the first word that does not.
    pub fn of(wish: &Wish, plan: &Plan) -> Result<Self, NamesNothing> {
        let list = |names: Vec<&str>| names.join(", ");
        for word in wish.only.iter().chain(&wish.skip) {
            let mut trials = plan.blocks.iter().flat_map(|b| b.trials.iter().map(move |t| (b, t)));
            if !trials.any(|(block, trial)| is_named(word, block, trial)) {
                return Err(NamesNothing {
                    word: word.clone(),
                    variants: list(plan.variants.iter().map(|v| v.id.as_str()).collect()),
                    loads: list(plan.loads.iter().map(|l| l.id.as_str()).collect()),
                    blocks: plan.blocks.iter().map(|b| b.block).max().unwrap_or(0),
                });
            }
        }
        Ok(Self {
            only: wish.only.clone(),
            skip: wish.skip.clone(),
            retry_invalid: wish.retry_invalid,
        })
    }

    /// True where this trial is wanted.
    pub(crate) fn names(&self, block: &PlannedBlock, trial: &PlannedTrial) -> bool {
        let any = |words: &[String]| words.iter().any(|word| is_named(word, block, trial));
        (self.only.is_empty() || any(&self.only)) && !any(&self.skip)
    }

    /// What was left out, in the words of the command line; none where nothing was.
    pub(crate) fn words(&self) -> Option<String> {
        let option = |name: &str, words: &[String]| (!words.is_empty()).then(|| format!("{name} {}", words.join(",")));
        let said = [option("--only", &self.only), option("--skip", &self.skip)];
        let said: Vec<String> = said.into_iter().flatten().collect();
        (!said.is_empty()).then(|| said.join(" "))
    }
}

/// True where a word is the trial's variant, load or block, or begins its name.
fn is_named(word: &str, block: &PlannedBlock, trial: &PlannedTrial) -> bool {
    let of_block = word.strip_prefix('b').and_then(|number| number.parse().ok());
    let begins = || {
        // A whole part of it: b01-02-C1 is not the beginning of b01-02-C1b-c8.
        let name = trial.take_id(block.block, 1).ok();
        let rest = name.as_ref().and_then(|name| name.as_str().strip_prefix(word));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    word == trial.variant.as_str() || word == trial.load.as_str() || of_block == Some(block.block) || begins()
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::examples;

    fn chosen(only: &[&str], skip: &[&str]) -> Result<Vec<String>, String> {
        let plan = examples::plan();
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        let wish = Wish {
            only: words(only),
            skip: words(skip),
            ..Wish::default()
        };
        let selection = Selection::of(&wish, &plan).map_err(|e| e.to_string())?;
        let trials = plan
            .blocks
            .iter()
            .take(2)
            .flat_map(|b| b.trials.iter().map(move |t| (b, t)));
        let named = trials.filter(|(b, t)| selection.names(b, t));
        Ok(named.map(|(b, t)| format!("{}{}", b.block, t.variant)).collect())
    }

    #[test]
    fn words_name_variants_loads_blocks_and_trials() {
        let all = ["1C1", "1C1b", "1C3", "2C1", "2C1b", "2C3"];
        let check = |only: &[&str], skip: &[&str], expected: &[&str]| {
            let mut found = chosen(only, skip).unwrap();
            found.sort();
            assert_eq!(found, expected, "{only:?} {skip:?}");
        };
        check(&[], &[], &all);
        check(&["c8"], &[], &all);
        check(&["C1"], &[], &["1C1", "2C1"]);
        check(&["b2"], &["C1b", "C3"], &["2C1"]);
        check(&["b01", "C3"], &[], &["1C1", "1C1b", "1C3", "2C3"]);
        check(&["b01-01-C1"], &[], &["1C1"]);
        check(&["b01-02-C1b-c8-t1"], &[], &["1C1b"]);
        check(&["C1"], &["C1"], &[]);
    }

    #[test]
    fn a_word_that_names_nothing_is_refused_with_the_names_there_are() {
        for word in ["C9", "b99", "b01-01-C", "", "c"] {
            let error = chosen(&[], &[word]).unwrap_err();
            assert!(
                error.contains(&format!("`{word}`")) && error.contains("C1, C1b, C3"),
                "{error}"
            );
        }
    }
}
