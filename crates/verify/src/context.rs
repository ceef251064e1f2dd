//! What the rows of a run are held against: the plan's prompts and trials, by name.

use servelab_findings::Prompts;
use servelab_schema::{
    EnvironmentRecord, Plan, PlannedBlock, PlannedTrial, PromptId, PromptSetRef, SessionRecord, VariantId,
};
use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU32,
};

/// Tokens of each prompt of a set.
type Tokens<'p> = HashMap<&'p PromptId, Option<NonZeroU32>>;

/// A plan and the machine that executed it.
#[derive(Debug)]
pub(crate) struct Context<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) environment: &'p EnvironmentRecord,
    pub(crate) prompts: Prompts<'p>,
    /// Numbers of the sessions after the first.
    pub(crate) sessions: BTreeSet<NonZeroU32>,
    measured: Tokens<'p>,
    fillers: Tokens<'p>,
}

impl<'p> Context<'p> {
    pub(crate) fn new(plan: &'p Plan, environment: &'p EnvironmentRecord, sessions: &[SessionRecord]) -> Self {
        let tokens = |set: &'p PromptSetRef| set.prompts.iter().map(|p| (&p.id, p.prompt_tokens)).collect();
        Self {
            plan,
            environment,
            prompts: Prompts::of(plan),
            sessions: sessions.iter().map(|s| s.session).collect(),
            measured: tokens(&plan.prompts),
            fillers: tokens(&plan.fillers),
        }
    }

    /// What the server of a variant must count in a prompt; none where the set has no such prompt.
    pub(crate) fn expected_tokens(
        &self,
        prompt: &PromptId,
        measured: bool,
        variant: &VariantId,
    ) -> Option<Option<NonZeroU32>> {
        let set = if measured { &self.measured } else { &self.fillers };
        let more = self.plan.engine.asked(variant).more_prompt_tokens;
        let counted = |n: NonZeroU32| n.get().checked_add_signed(more).and_then(NonZeroU32::new);
        set.get(prompt).map(|tokens| tokens.and_then(counted))
    }

    /// The planned trial at this place.
    pub(crate) fn planned(&self, block: u32, order: u32) -> Option<(&'p PlannedBlock, &'p PlannedTrial)> {
        let block = self.plan.blocks.iter().find(|b| b.block == block)?;
        Some((block, block.trials.iter().find(|t| t.order == order)?))
    }
}
