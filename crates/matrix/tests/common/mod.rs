//! A small project in a temporary folder: tokenizer files, prompt sets, matrices.

#![expect(dead_code, reason = "each test program uses a part")]

use servelab_matrix::{MatrixErrors, Overrides, Resolved, resolve_with_origins};
use servelab_schema::{
    Bucket, Bytes, Message, Prompt, PromptId, PromptManifest, PromptSetId, PromptSource, Role, Sha256Hex, SourceRecord,
    Task, V,
};
use sha2::{Digest, Sha256};
use std::{fs, num::NonZeroU32, path::Path};
use tempfile::TempDir;

const TOKENIZER: &str = "datasets/tokenizers/mistral-7b-instruct-v0.3";

pub struct Project {
    pub dir: TempDir,
}

/// What is wrong with a prompt set on purpose.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    Changed,
    OtherTokenizer,
    TooLong,
    Broken,
    Gap,
    NoManifest,
}

pub fn sha(bytes: &[u8]) -> Sha256Hex {
    Sha256Hex::from_bytes(Sha256::digest(bytes).into())
}

impl Project {
    /// A project with `l4-1800` (10 blocks of 18), `l4-demo-180` (4 blocks of 18) and `l4-filler-90` (9), and spoilt sets.
    pub fn new() -> Self {
        let project = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        project.write(&format!("{TOKENIZER}/tokenizer.json"), "{}");
        project.write(&format!("{TOKENIZER}/chat_template.jinja"), "{{ messages }}");
        project.prompts("l4-1800", "", 10, 2, Fault::None);
        project.prompts("l4-demo-180", "", 4, 2, Fault::None);
        project.prompts("l4-filler-90", "filler-", 0, 1, Fault::None);
        project
    }

    pub fn with_spoilt_prompts(self) -> Self {
        self.prompts("changed", "", 1, 1, Fault::Changed);
        self.prompts("other-tokenizer", "", 1, 1, Fault::OtherTokenizer);
        self.prompts("too-long", "", 1, 1, Fault::TooLong);
        self.prompts("broken", "", 1, 1, Fault::Broken);
        self.prompts("gap", "", 3, 1, Fault::Gap);
        self.prompts("no-manifest", "", 1, 1, Fault::NoManifest);
        self
    }

    /// Checkpoints in folders: two that read the same tokens, and three that do not.
    pub fn with_models(self) -> Self {
        let config = |template: &str| format!("{{\"bos_token\": \"<s>\", \"chat_template\": \"{template}\"}}");
        for (name, tokenizer, template) in [
            ("ours", "{}", "one"),
            ("fp8", "{}", "one"),
            ("other-tokenizer", "{ }", "one"),
            ("other-template", "{}", "two"),
        ] {
            self.write(&format!("models/{name}/tokenizer.json"), tokenizer);
            self.write(&format!("models/{name}/tokenizer_config.json"), &config(template));
        }
        // A file of its own counts before the key.
        self.write("models/fp8/chat_template.jinja", "one");
        self.write("models/fp8/tokenizer_config.json", &config("old"));
        self.write("models/none/config.json", "{}");
        self
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The repository's own matrices.
    pub fn with_matrices(self) -> Self {
        self.write("matrix/c1-c8.toml", include_str!("../../../../matrix/c1-c8.toml"));
        self.write("matrix/demo.toml", include_str!("../../../../matrix/demo.toml"));
        self.write("matrix/sanity.toml", include_str!("../../../../matrix/sanity.toml"));
        self.write("matrix/starter.toml", servelab_matrix::starter());
        self
    }

    pub fn resolve(&self, file: &str) -> Result<Resolved, MatrixErrors> {
        self.resolve_with(file, &Overrides::default())
    }

    pub fn resolve_with(&self, file: &str, overrides: &Overrides) -> Result<Resolved, MatrixErrors> {
        resolve_with_origins(self.root(), Path::new(file), overrides)
    }

    /// Writes a set of `blocks` blocks, each with `each` prompts of every task and bucket; 0 blocks are fillers.
    pub fn prompts(&self, name: &str, prefix: &str, blocks: u32, each: u32, fault: Fault) {
        let mut rows = Vec::new();
        for block in blocks.min(1)..=blocks {
            for task in Task::ALL {
                for bucket in Bucket::ALL {
                    rows.extend((0..each).map(|i| prompt(prefix, block, task, bucket, i, fault)));
                }
            }
        }
        if fault == Fault::Gap {
            rows.retain(|p| p.block != 2);
        }
        let mut text = String::new();
        for row in &rows {
            text.push_str(&serde_json::to_string(row).unwrap());
            text.push('\n');
        }
        if fault == Fault::Broken {
            text.push_str("{\"v\":1}\nnonsense\n");
        }
        let tokenizer = if fault == Fault::OtherTokenizer { "other" } else { "{}" };
        let manifest = PromptManifest {
            v: V,
            id: PromptSetId::new(name).unwrap(),
            file: format!("{name}.jsonl"),
            sha256: sha(if fault == Fault::Changed {
                b"other"
            } else {
                text.as_bytes()
            }),
            bytes: Bytes(text.len() as u64),
            prompts: rows.len() as u32,
            blocks,
            context_tokens: NonZeroU32::new(8192).unwrap(),
            longest_common_prefix_tokens: 8,
            model: "mistral".into(),
            tokenizer_sha256: sha(tokenizer.as_bytes()),
            chat_template_sha256: sha(b"{{ messages }}"),
            inputs: Vec::new(),
            seed: 1,
        };
        self.write(&format!("prompts/{name}.jsonl"), &text);
        if fault != Fault::NoManifest {
            let manifest = serde_json::to_string_pretty(&manifest).unwrap();
            self.write(&format!("prompts/{name}.manifest.json"), &manifest);
        }
    }
}

fn prompt(prefix: &str, block: u32, task: Task, bucket: Bucket, i: u32, fault: Fault) -> Prompt {
    let tokens = match (bucket, fault) {
        (Bucket::L, Fault::TooLong) => 8190,
        (Bucket::S, _) => 100,
        (Bucket::M, _) => 1000,
        (Bucket::L, _) => 4000,
    };
    let number = block * 100 + i;
    Prompt {
        v: V,
        id: PromptId::new(format!("{prefix}{task}-{bucket}-{number:04}")).unwrap(),
        task,
        bucket,
        block,
        prompt_tokens: NonZeroU32::new(tokens).unwrap(),
        max_new_tokens: NonZeroU32::new(64).unwrap(),
        answer: None,
        rendered_sha256: sha(b"x"),
        source: PromptSource {
            primary: SourceRecord {
                dataset: "d".into(),
                record: "r".into(),
            },
            distractors: Vec::new(),
        },
        messages: vec![Message {
            role: Role::User,
            content: "x".into(),
        }],
    }
}
