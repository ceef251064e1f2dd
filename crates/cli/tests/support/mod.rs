//! A small project in a temporary folder: prompts that are really counted, a matrix, and the `servelab` program.

use servelab_chat::{ChatMessage, ChatTokenizer};
use servelab_evidence::{SealedRun, sha256_file};
use servelab_load::clock::monotonic;
use servelab_schema::{
    Bucket, Bytes, EngineRecord, Message, Plan, Prompt, PromptId, PromptManifest, PromptSetId, PromptSource, Role,
    Sha256Hex, SourceRecord, Task, TelemetrySample, Trace, TrialId, TrialRecord, V, WallNanos, findings::TrialFindings,
};
use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

const TOKENIZER: &str = "datasets/tokenizers/mistral-7b-instruct-v0.3";
const WORDS: &[&str] = &[
    "river", "stone", "lantern", "orchard", "winter", "harbour", "letter", "garden", "copper", "violin",
];

/// The project. Its folder goes when it is dropped.
pub(crate) struct Project {
    dir: TempDir,
}

/// What a finished command said.
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn text_of(task: Task, n: usize) -> String {
    let words: Vec<&str> = (0..30).map(|i| WORDS[(n * 7 + i * (n + 3)) % WORDS.len()]).collect();
    let ask = match task {
        Task::Summarisation => "Summarise the text.",
        Task::Qa => "Answer the question from the context: what comes first?",
        Task::Dialogue => "Continue the dialogue.",
    };
    format!("{n} {} {ask} {}", WORDS[n % WORDS.len()], words.join(" "))
}

fn prompt(chat: &ChatTokenizer, id: &str, task: Task, block: u32, n: usize) -> Prompt {
    let content = text_of(task, n);
    let messages = [ChatMessage {
        role: "user",
        content: &content,
    }];
    let tokens = u32::try_from(chat.count_chat(&messages).unwrap()).unwrap();
    let record = SourceRecord {
        dataset: "test".into(),
        record: n.to_string(),
    };
    Prompt {
        v: V,
        id: PromptId::new(id).unwrap(),
        task,
        bucket: Bucket::S,
        block,
        prompt_tokens: NonZeroU32::new(tokens).unwrap(),
        max_new_tokens: NonZeroU32::new(16).unwrap(),
        // A word that the simulated model writes now and then.
        answer: (task == Task::Qa).then(|| "the".to_owned()),
        rendered_sha256: Sha256Hex::from_bytes([0; 32]),
        source: PromptSource {
            primary: record,
            distractors: Vec::new(),
        },
        messages: vec![Message {
            role: Role::User,
            content,
        }],
    }
}

impl Project {
    /// A project whose prompt set has `blocks` blocks of `per_block` prompts.
    pub(crate) fn new(blocks: u32, per_block: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let tokenizer = dir.path().join(TOKENIZER);
        fs::create_dir_all(&tokenizer).unwrap();
        for entry in fs::read_dir(repository.join(TOKENIZER)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), tokenizer.join(entry.file_name())).unwrap();
        }
        let project = Self { dir };
        let chat = ChatTokenizer::load(&tokenizer).unwrap();
        let tasks = Task::ALL;
        let measured = (0..blocks * per_block).map(|n| {
            let i = usize::try_from(n).unwrap();
            prompt(&chat, &format!("t-{n:04}"), tasks[i % 3], n % blocks + 1, i)
        });
        project.set("test", measured.collect(), blocks, &chat);
        let fillers = (0..12).map(|n| prompt(&chat, &format!("f-{n:04}"), tasks[n % 3], 0, 1000 + n));
        project.set("filler", fillers.collect(), 0, &chat);
        project
    }

    fn set(&self, name: &str, prompts: Vec<Prompt>, blocks: u32, chat: &ChatTokenizer) {
        let folder = self.path("prompts");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("{name}.jsonl"));
        let rows: String = prompts
            .iter()
            .map(|p| serde_json::to_string(p).unwrap() + "\n")
            .collect();
        fs::write(&file, rows).unwrap();
        let (bytes, sha256) = sha256_file(&file).unwrap();
        let manifest = PromptManifest {
            v: V,
            id: PromptSetId::new(name).unwrap(),
            file: format!("{name}.jsonl"),
            sha256,
            bytes: Bytes(bytes),
            prompts: u32::try_from(prompts.len()).unwrap(),
            blocks,
            context_tokens: NonZeroU32::new(8192).unwrap(),
            longest_common_prefix_tokens: 3,
            model: "mistralai/Mistral-7B-Instruct-v0.3".into(),
            tokenizer_sha256: Sha256Hex::new(chat.tokenizer_sha256()).unwrap(),
            chat_template_sha256: Sha256Hex::new(chat.template_sha256()).unwrap(),
            inputs: Vec::new(),
            seed: 1,
        };
        let text = serde_json::to_string(&manifest).unwrap();
        fs::write(folder.join(format!("{name}.manifest.json")), text).unwrap();
    }

    /// A path inside the project.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Writes `matrix/NAME.toml`: the head that every test matrix shares, then `rest`.
    pub(crate) fn matrix(&self, name: &str, extra_args: &[&str], experiment: &str, rest: &str) {
        // A start-up of 20 engine seconds would be most of a test.
        let quick = ["--startup-seconds", "0.5"];
        // A test that has one block wants no verdict of it, and says so.
        let order = if experiment.contains("order") {
            ""
        } else {
            "order = \"random\"\n"
        };
        let extra: Vec<String> = quick.iter().chain(extra_args).map(|a| format!("{a:?}")).collect();
        let text = format!(
            r#"name = "{name}"

[profile]
name = "l4-mistral-7b"
gpu = "NVIDIA L4"
gpu-memory-gb = 24
machine-type = "g2-standard-8"
model = "mistralai/Mistral-7B-Instruct-v0.3"
dtype = "bfloat16"
context-tokens = 8192

[engine]
dialect = "vllm"
version = "0.32.0"
served-model = "mistral"

[engine.provider.sim]
time-scale = 4
seed = 1
tokenizer = "{TOKENIZER}"
extra-args = [{}]

[prompts]
file = "prompts/test.jsonl"
fillers = "prompts/filler.jsonl"

# Tests run beside each other on any machine: what they prove is the path, not the instrument's precision.
[gates]
schedule-lag-p99 = "60s"
event-loop-lag-p99 = "60s"
starvation-ratio = 1000
certified-error-delta-ratio = 1000
client-thread-cpu-ratio = 8
held-window-ratio = 0.01
min-requests = 1
min-duration = "0s"

[telemetry]
interval = "200ms"

[warm-up]
requests = 2

[experiment]
{order}{experiment}

{rest}"#,
            extra.join(", ")
        );
        fs::create_dir_all(self.path("matrix")).unwrap();
        fs::write(self.path(&format!("matrix/{name}.toml")), text).unwrap();
    }

    /// The program with these words, in this project, and nothing else.
    pub(crate) fn bare_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_servelab"));
        command.arg("--project").arg(self.dir.path()).args(words);
        // Tests run beside each other: a project of theirs is a machine of its own.
        command.env(servelab_runner::FOLDER_VARIABLE, self.path("locks"));
        command
    }

    /// The program with these words, in this project. A run does not measure its instrument, which takes three seconds, and
    /// writes no report: tests that want one ask for it.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.bare_command(words);
        if words.first() == Some(&"run") {
            command.args(["--no-calibrate", "--no-report"]);
        }
        command
    }

    /// Runs the program to its end.
    pub(crate) fn servelab(&self, words: &[&str]) -> CommandOutput {
        command_output(&self.command(words).output().unwrap())
    }

    /// The sealed run of that name.
    pub(crate) fn run(&self, id: &str) -> SealedRun {
        let dir = self.path("runs").join(id);
        // Whatever a test did to make it: what was sealed follows from its traces, and keeps every rule.
        let report = servelab_verify::verify(&dir, &servelab_verify::Asked::default()).report;
        assert!(report.is_good(), "{report:#?}");
        SealedRun::open(&dir).unwrap()
    }
}

/// Looks until the answer is there. Panics after two minutes, so that no test waits for ever.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    const PATIENCE: WallNanos = WallNanos(120_000_000_000);
    let begin = monotonic();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(monotonic().since(begin) < PATIENCE, "{what}: waited in vain");
        std::thread::yield_now();
    }
}

/// The same command with SIGHUP as a login shell leaves it, whoever started these tests: under `nohup` it would be ignored.
pub(crate) fn hearing_hangups(command: &Command) -> Command {
    let mut hearing = Command::new("env");
    hearing
        .arg("--default-signal=HUP")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => hearing.env(name, value),
            None => hearing.env_remove(name),
        };
    }
    hearing
}

/// What a finished command said.
pub(crate) fn command_output(output: &Output) -> CommandOutput {
    CommandOutput {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl CommandOutput {
    /// Asserts the exit code, showing everything that was said where it differs.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }
}

/// Every take of a run as the findings have it, with its traces.
pub(crate) fn trials(run: &SealedRun) -> Vec<(TrialFindings, Vec<Trace>)> {
    let found = run.findings().unwrap().trials;
    let with_traces = |t: TrialFindings| {
        let traces = traces(run, &t.id);
        (t, traces)
    };
    found.into_iter().map(with_traces).collect()
}

/// `trial.json` of a take.
pub(crate) fn record(run: &SealedRun, id: &TrialId) -> TrialRecord {
    run.take(id).record().unwrap()
}

/// `engine.json` of a take.
pub(crate) fn engine(run: &SealedRun, id: &TrialId) -> EngineRecord {
    run.take(id).engine().unwrap()
}

/// `traces.jsonl` of a take.
pub(crate) fn traces(run: &SealedRun, id: &TrialId) -> Vec<Trace> {
    run.take(id).traces().unwrap().collect::<Result<_, _>>().unwrap()
}

/// `telemetry.jsonl` of a take.
pub(crate) fn telemetry(run: &SealedRun, id: &TrialId) -> Vec<TelemetrySample> {
    run.take(id).telemetry().unwrap().collect::<Result<_, _>>().unwrap()
}

/// The run's plan.
pub(crate) fn plan(run: &SealedRun) -> Plan {
    run.plan().unwrap()
}
