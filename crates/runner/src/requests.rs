//! From the plan's prompt files to requests that are ready to be sent.

use crate::RunError;
use servelab_evidence::sha256_file;
use servelab_load::PreparedRequest;
use servelab_schema::{Plan, PlannedBlock, Prompt, PromptId, PromptSetRef};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

/// Every request of a run, serialised once.
#[derive(Debug)]
pub(crate) struct Requests {
    measured: HashMap<PromptId, PreparedRequest>,
    fillers: Vec<PreparedRequest>,
}

fn read(project: &Path, set: &PromptSetRef, plan: &Plan) -> Result<Vec<PreparedRequest>, RunError> {
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
    let mut requests = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let prompt: Prompt = serde_json::from_str(line)
            .map_err(|e| fail(&path, format!("line {}: {e}; build the prompts again", i + 1)))?;
        let request = PreparedRequest::chat(&prompt, &plan.engine.served_model, plan.output);
        requests.push(request.map_err(|e| fail(&path, e.to_string()))?);
    }
    Ok(requests)
}

impl Requests {
    /// Reads both prompt files, checks their hashes, and serialises every request.
    pub(crate) fn load(project: &Path, plan: &Plan) -> Result<Self, RunError> {
        let measured = read(project, &plan.prompts, plan)?;
        let measured = measured.into_iter().map(|r| (r.prompt_id.clone(), r)).collect();
        Ok(Self {
            measured,
            fillers: read(project, &plan.fillers, plan)?,
        })
    }

    /// The block's measured requests in order.
    pub(crate) fn of_block(&self, block: &PlannedBlock) -> Result<Vec<PreparedRequest>, RunError> {
        let find = |id: &PromptId| {
            let found = self.measured.get(id).cloned();
            found.ok_or_else(|| {
                RunError::Plan(format!(
                    "block {} asks for prompt {id}, which is in no file",
                    block.block
                ))
            })
        };
        block.prompts.iter().map(find).collect()
    }

    /// The fillers, beginning at another one in each block and at the same one in each trial of a block.
    pub(crate) fn fillers(&self, block: &PlannedBlock) -> Vec<PreparedRequest> {
        let mut fillers = self.fillers.clone();
        let n = u64::try_from(fillers.len()).unwrap_or(1).max(1);
        fillers.rotate_left(usize::try_from(block.seed % n).unwrap_or(0));
        fillers
    }
}
