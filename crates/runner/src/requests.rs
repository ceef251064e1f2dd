//! From the plan's prompt files to requests that are ready to be sent.

use crate::RunError;
use servelab_evidence::sha256_file;
use servelab_load::{PreparedRequest, bench::body::Asking};
use servelab_schema::{Capabilities, Plan, PlannedBlock, Prompt, PromptId, PromptSetRef, Role};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

/// Every prompt of a run, read once.
#[derive(Debug)]
pub(crate) struct Requests {
    asking: Asking,
    measured: HashMap<PromptId, Prompt>,
    fillers: Vec<Prompt>,
}

fn read(project: &Path, set: &PromptSetRef) -> Result<Vec<Prompt>, RunError> {
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
        let prompt = serde_json::from_str(line);
        prompt.map_err(|e| fail(&path, format!("line {}: {e}; build the prompts again", i + 1)))
    };
    text.lines().enumerate().map(row).collect()
}

impl Requests {
    /// Reads both prompt files and checks their hashes.
    pub(crate) fn load(project: &Path, plan: &Plan) -> Result<Self, RunError> {
        let measured = read(project, &plan.prompts)?;
        Ok(Self {
            asking: Asking::chat(&plan.engine.served_model, plan.output),
            measured: measured.into_iter().map(|p| (p.id.clone(), p)).collect(),
            fillers: read(project, &plan.fillers)?,
        })
    }

    /// What every request asks for, of an engine that takes everything.
    pub(crate) const fn asking(&self) -> &Asking {
        &self.asking
    }

    /// True where a prompt has a message of the system's.
    pub(crate) fn have_system(&self) -> bool {
        let mut all = self.measured.values().chain(&self.fillers);
        all.any(|prompt| prompt.messages.iter().any(|m| m.role == Role::System))
    }

    /// Serialised for an engine that takes this.
    fn prepared<'p>(
        &self,
        prompts: impl Iterator<Item = &'p Prompt>,
        capabilities: Capabilities,
    ) -> Result<Vec<PreparedRequest>, RunError> {
        let asking = Asking {
            capabilities,
            ..self.asking.clone()
        };
        let requests = prompts.map(|prompt| asking.packed(prompt)).collect::<Result<_, _>>();
        requests.map_err(|e| RunError::Plan(format!("a request cannot be written: {e}")))
    }

    /// The block's measured requests in order, for an engine that takes this.
    pub(crate) fn of_block(
        &self,
        block: &PlannedBlock,
        capabilities: Capabilities,
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
        let prompts: Vec<&Prompt> = block.prompts.iter().map(find).collect::<Result<_, _>>()?;
        self.prepared(prompts.into_iter(), capabilities)
    }

    /// The fillers, beginning at another one in each block and at the same one in each trial of a block.
    pub(crate) fn fillers(
        &self,
        block: &PlannedBlock,
        capabilities: Capabilities,
    ) -> Result<Vec<PreparedRequest>, RunError> {
        let n = u64::try_from(self.fillers.len()).unwrap_or(1).max(1);
        let first = usize::try_from(block.seed % n).unwrap_or(0);
        let (before, from) = self.fillers.split_at_checked(first).unwrap_or((&self.fillers, &[]));
        self.prepared(from.iter().chain(before), capabilities)
    }
}
