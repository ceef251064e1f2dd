//! From the plan's prompt files to requests that are ready to be sent.

use crate::RunError;
use servelab_evidence::sha256_file;
use servelab_load::{
    PreparedRequest,
    bench::body::{Asking, Text},
};
use servelab_schema::{
    Asked, Capabilities, OutputPolicy, PlainPrompt, Plan, PlannedBlock, PlannedTrial, PromptId, PromptSetRef, Role,
};
use std::{
    collections::HashMap,
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

/// Whom requests go to, and what it takes.
pub(crate) type To<'p> = (Asked<'p>, Capabilities);

/// Every prompt of a run, read once.
#[derive(Debug)]
pub(crate) struct Requests {
    output: OutputPolicy,
    /// What is asked at most: of servers that are compared all are asked alike.
    at_most: Capabilities,
    measured: HashMap<PromptId, PlainPrompt>,
    fillers: Vec<PlainPrompt>,
}

fn read(project: &Path, set: &PromptSetRef) -> Result<Vec<PlainPrompt>, RunError> {
    let path = project.join(&set.path);
    let fail = |path: &PathBuf, message: String| RunError::Prompts {
        path: path.clone(),
        message,
    };
    let (_, sha256) = sha256_file(&path)?;
    if sha256 != set.sha256 {
        let message = format!(
            "changed since the plan was made (plan: {}, file: {}); build the prompts again or plan again",
            set.sha256.short(),
            sha256.short()
        );
        return Err(fail(&path, message));
    }
    let text = fs::read_to_string(&path).map_err(|e| fail(&path, e.to_string()))?;
    let row = |(i, line): (usize, &str)| {
        set.row(line)
            .map_err(|e| fail(&path, format!("line {}: {e}; build the prompts again", i + 1)))
    };
    text.lines().enumerate().map(row).collect()
}

impl Requests {
    /// Reads both prompt files and checks their hashes.
    pub(crate) fn load(project: &Path, plan: &Plan) -> Result<Self, RunError> {
        let measured = read(project, &plan.prompts)?;
        Ok(Self {
            output: plan.output,
            at_most: plan.engine.asked_at_most(),
            measured: measured.into_iter().map(|p| (p.id.clone(), p)).collect(),
            fillers: read(project, &plan.fillers)?,
        })
    }

    /// What every request to this model asks for, of an engine that takes everything.
    pub(crate) fn asking(&self, model: &str) -> Asking {
        Asking {
            capabilities: self.at_most,
            ..Asking::chat(model, self.output)
        }
    }

    /// True where a prompt has a message of the system's.
    pub(crate) fn have_system(&self) -> bool {
        let mut all = self.measured.values().chain(&self.fillers);
        all.any(|prompt| prompt.messages.iter().any(|m| m.role == Role::System))
    }

    /// Serialised for an engine that takes this.
    fn prepared<'p>(
        &self,
        prompts: impl Iterator<Item = &'p PlainPrompt>,
        (asked, capabilities): To<'_>,
    ) -> Result<Vec<PreparedRequest>, RunError> {
        let asking = Asking {
            capabilities,
            ..self.asking(asked.served_model)
        };
        let request = |prompt: &PlainPrompt| {
            let text = Text::Messages(prompt.messages.clone());
            let counted = |n: NonZeroU32| n.get().checked_add_signed(asked.more_prompt_tokens);
            let expected = prompt.prompt_tokens.and_then(counted).and_then(NonZeroU32::new);
            asking
                .request(prompt.id.clone(), &text, prompt.max_new_tokens, expected)
                .map_err(|e| RunError::Plan(format!("a request cannot be written: {e}")))
        };
        prompts.map(request).collect()
    }

    /// The measured requests of a trial in order.
    pub(crate) fn measured(
        &self,
        to: To<'_>,
        block: &PlannedBlock,
        trial: &PlannedTrial,
    ) -> Result<Vec<PreparedRequest>, RunError> {
        let find = |id: &PromptId| {
            let found = self.measured.get(id);
            found.ok_or_else(|| {
                RunError::Plan(format!(
                    "block {} asks for prompt {id}, which is in no file",
                    block.block
                ))
            })
        };
        let prompts: Vec<&PlainPrompt> = block.prompts_of(trial).iter().map(find).collect::<Result<_, _>>()?;
        self.prepared(prompts.into_iter(), to)
    }

    /// The fillers, beginning at another one in each block and at the same one in each trial of a block; where engines live on, at
    /// another one in each trial, as far from the others as there are fillers: a server that has seen one could have kept it.
    pub(crate) fn fillers(
        &self,
        to: To<'_>,
        plan: &Plan,
        block: &PlannedBlock,
        trial: &PlannedTrial,
    ) -> Result<Vec<PreparedRequest>, RunError> {
        let n = u64::try_from(self.fillers.len()).unwrap_or(1).max(1);
        let begin = if plan.engine.lives_on() {
            let earlier = plan.blocks.iter().filter(|b| b.block < block.block);
            let before: usize = earlier.map(|b| b.trials.len()).sum();
            let before = u64::try_from(before).unwrap_or(0) + u64::from(trial.order.saturating_sub(1));
            let all = u64::try_from(plan.trial_count()).unwrap_or(1).max(1);
            before * n / all
        } else {
            block.seed
        };
        let first = usize::try_from(begin % n).unwrap_or(0);
        let (before, from) = self.fillers.split_at_checked(first).unwrap_or((&self.fillers, &[]));
        self.prepared(from.iter().chain(before), to)
    }
}
