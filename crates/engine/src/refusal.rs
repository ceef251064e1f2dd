//! Whether an engine that died at its start refused the setting under test, by its own words.
//!
//! A start dies for many reasons that are no setting's doing: the port is taken, the disk is full, a module is missing. Only
//! words *about the setting* refuse it: they name the flag that differs from the control's in any spelling (`kv-cache-dtype`,
//! `kv_cache_dtype`, `KV cache dtype`), a telling part of it (`offload` of `kv-offloading-size`), or its value (`fp8`). A baseline has no setting under test
//! and is never refused.
//!
//! Trap: a word that any engine uses of anything (`cache`, `model`, `size`) tells nothing, see `COMMON`.

use servelab_schema::{ArgValue, PlannedVariant};
use std::collections::BTreeSet;

/// What the surroundings do to a start, in lower case: never a refusal, whatever else the words name.
const SURROUNDINGS: &[&str] = &[
    "address already in use",
    "cannot assign requested address",
    "connection refused",
    "connection reset",
    "connection aborted",
    "couldn't connect to",
    "max retries exceeded",
    "name or service not known",
    "name resolution",
    "network is unreachable",
    "no space left",
    "disk quota",
    "no such file or directory",
    "filenotfounderror",
    "is not a valid model identifier",
    "gated repo",
    "repository not found",
    "permission denied",
    "operation not permitted",
    "read-only file system",
    "too many open files",
    "resource temporarily unavailable",
    "device or resource busy",
    "out of memory",
    "out of gpu memory",
    "out of host memory",
    "outofmemory",
    "allocate memory",
    "memoryerror",
    "killed by sigkill",
    "no module named",
    "modulenotfounderror",
    "cannot open shared object file",
    "cannot import name",
    "command not found",
];

/// Words of flags, values and errors alike, which name no setting.
const COMMON: &[&str] = &[
    "api",
    "auto",
    "backend",
    "batch",
    "batched",
    "block",
    "blocks",
    "cache",
    "config",
    "context",
    "core",
    "count",
    "cpu",
    "data",
    "default",
    "device",
    "dir",
    "disable",
    "dtype",
    "enable",
    "engine",
    "false",
    "file",
    "format",
    "gpu",
    "host",
    "input",
    "kv",
    "len",
    "length",
    "level",
    "limit",
    "list",
    "load",
    "local",
    "log",
    "max",
    "memory",
    "method",
    "min",
    "mode",
    "model",
    "name",
    "native",
    "none",
    "num",
    "number",
    "output",
    "path",
    "pool",
    "port",
    "process",
    "prompt",
    "request",
    "requests",
    "seqs",
    "server",
    "size",
    "space",
    "tensor",
    "token",
    "tokenizer",
    "tokens",
    "true",
    "type",
    "use",
    "worker",
];

/// Flags whose refusal names another flag: with the first at a certain value the engine wants something of the second.
const COUPLED: &[(&str, &[&str])] = &[
    // Without chunks a whole prompt is one step, so a step must hold the longest one.
    ("enable-chunked-prefill", &["max-num-batched-tokens"]),
    ("speculative-config", &["draft", "num-speculative-tokens"]),
];

/// Names of weight formats, which stand in a checkpoint's name.
const WEIGHT_FORMATS: &[&str] = &[
    "awq",
    "gptq",
    "gguf",
    "bnb",
    "bitsandbytes",
    "marlin",
    "quantized",
    "quantization",
    "compressed",
];

/// The engine's `words` where they refuse what `variant` changes of its `control`; none where they are about something else.
/// `words` are the root cause of a failed start, as [`log::root_cause`](crate::log::root_cause) finds it.
#[must_use]
pub fn refusal(variant: &PlannedVariant, control: Option<&PlannedVariant>, words: &str) -> Option<String> {
    let said = LastWords::new(words);
    if variant.differs_in.is_empty() || said.is_of_surroundings() {
        return None;
    }
    let about = |field: &String| match field.as_str() {
        "model" => said.names_format(variant.model.as_deref()),
        flag => said.names_flag(flag, [Some(variant), control]),
    };
    variant.differs_in.iter().any(about).then(|| words.to_owned())
}

/// What an engine said, in words of letters and digits.
struct LastWords {
    lower: String,
    words: Vec<String>,
}

impl LastWords {
    fn new(text: &str) -> Self {
        Self {
            lower: text.to_lowercase(),
            words: parts(text),
        }
    }

    fn is_of_surroundings(&self) -> bool {
        SURROUNDINGS.iter().any(|cause| self.lower.contains(cause))
    }

    fn names_flag(&self, flag: &str, arms: [Option<&PlannedVariant>; 2]) -> bool {
        let coupled = COUPLED.iter().filter(|(name, _)| *name == flag);
        let values = arms.into_iter().flatten().filter_map(|arm| arm.flags.get(flag));
        self.spells(flag)
            || parts(flag).iter().any(|part| self.has(part))
            || coupled.flat_map(|(_, others)| *others).any(|other| self.spells(other))
            || values.flat_map(|field| texts(&field.value)).any(|part| self.has(&part))
    }

    /// A checkpoint is named by the format of its weights.
    fn names_format(&self, model: Option<&str>) -> bool {
        let name = parts(model.unwrap_or_default());
        name.iter()
            .filter(|part| is_weight_format(part))
            .any(|part| self.has(part))
            || self.words.iter().any(|word| WEIGHT_FORMATS.contains(&word.as_str()))
    }

    /// True where the words of a flag stand one behind the other, whatever is between them.
    fn spells(&self, flag: &str) -> bool {
        let wanted = parts(flag);
        let positive = match wanted.first().map(String::as_str) {
            Some("no" | "enable" | "disable") => wanted.get(1..).unwrap_or_default(),
            _ => &wanted,
        };
        // One common word is no name.
        let is_name = positive.len() > 1 || positive.iter().any(|part| is_telling(part));
        is_name && self.words.windows(positive.len().max(1)).any(|said| said == positive)
    }

    /// True where a telling word stands there, or another form of it: `offload` and `offloading`, `quantized` and `quantization`.
    fn has(&self, part: &str) -> bool {
        is_telling(part) && self.words.iter().any(|word| is_form_of(word, part))
    }
}

/// A text's words of letters and digits, in lower case.
fn parts(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|w| !w.is_empty()).map(str::to_ascii_lowercase).collect()
}

/// The words of a value; numbers and switches have none, for any error may hold a number.
fn texts(value: &ArgValue) -> BTreeSet<String> {
    match value {
        ArgValue::Text(text) => parts(text).into_iter().collect(),
        ArgValue::Switch(_) | ArgValue::Integer(_) | ArgValue::Number(_) => BTreeSet::new(),
    }
}

fn is_telling(word: &str) -> bool {
    word.len() >= 3 && word.bytes().any(|b| b.is_ascii_alphabetic()) && !COMMON.contains(&word)
}

fn is_form_of(word: &str, part: &str) -> bool {
    /// As many first letters as make two words forms of one.
    const STEM: usize = 6;
    let common = word.bytes().zip(part.bytes()).take_while(|(a, b)| a == b).count();
    let shorter = word.len().min(part.len());
    word == part || common >= STEM || (common == shorter && shorter >= 5)
}

/// `fp8`, `w4a16`, `awq`, but not the size `7b` and the version `v0`.
fn is_weight_format(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let is_size = part.ends_with('b') && part.starts_with(|c: char| c.is_ascii_digit());
    let is_code = digits > 0 && digits < part.len() && part.len() >= 3 && !is_size && !part.starts_with('v');
    is_code || WEIGHT_FORMATS.contains(&part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::root_cause;
    use servelab_schema::{FieldValue, Origin, VariantRole, examples};

    fn text(value: &str) -> ArgValue {
        ArgValue::Text(value.to_owned())
    }

    fn arm(flags: &[(&str, ArgValue)], differs_in: &[&str]) -> PlannedVariant {
        let origin = Origin {
            file: "t.toml".into(),
            line: 1,
            key: "k".into(),
        };
        let field = |value: &ArgValue| FieldValue {
            value: value.clone(),
            origin: origin.clone(),
        };
        PlannedVariant {
            flags: flags.iter().map(|(n, v)| ((*n).to_owned(), field(v))).collect(),
            differs_in: differs_in.iter().map(|f| (*f).to_owned()).collect(),
            model: None,
            ..examples::plan().variants[0].clone()
        }
    }

    /// An arm that changes one flag.
    fn flag(name: &str, value: ArgValue) -> PlannedVariant {
        arm(&[(name, value)], &[name])
    }

    fn log(name: &str) -> String {
        let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
        root_cause(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn refuses(variant: &PlannedVariant, words: &str) {
        assert_eq!(refusal(variant, None, words).as_deref(), Some(words), "{words}");
    }

    fn says_nothing_of(variant: &PlannedVariant, words: &str) {
        assert_eq!(refusal(variant, None, words), None, "{words}");
    }

    #[test]
    fn refusals_that_real_engines_gave() {
        let pool = flag("tokenizer-pool-size", ArgValue::Integer(4));
        refuses(&pool, "error: unrecognized arguments: --tokenizer-pool-size 4");
        let kv = flag("kv-cache-dtype", text("fp8"));
        refuses(&kv, &log("vllm-0.32.0-C5-kv-fp8-dies.log"));
        refuses(&flag("quantization", text("fp8")), &log("vllm-0.32.0-C8-fp8-dies.log"));
        refuses(
            &flag("quantization", text("fp8_per_tensor")),
            &log("vllm-0.32.0-C8-fp8-dies.log"),
        );
        let offload = "RuntimeError: Worker failed with error 'CPU Offloading is currently only supported on CUDA-alike and XPU \
                       GPUs', please check the stack trace above for the root cause";
        refuses(&flag("kv-offloading-size", ArgValue::Number(8.0)), offload);
        refuses(&flag("cpu-offload-gb", ArgValue::Integer(1)), offload);
        let awq = "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig: Value error, Cannot find the \
                   config file for awq";
        refuses(&flag("quantization", text("awq")), awq);
        let short = "pydantic_core._pydantic_core.ValidationError: 1 validation error for SchedulerConfig: Value error, \
                     max_num_batched_tokens (256) is smaller than max_model_len (2048).";
        refuses(&flag("max-num-batched-tokens", ArgValue::Integer(256)), short);
        refuses(&flag("max-model-len", ArgValue::Integer(2048)), short);
        refuses(&flag("enable-chunked-prefill", ArgValue::Switch(false)), short);
        let swap = "error: unrecognized arguments: --swap-space 4";
        refuses(&flag("swap-space", ArgValue::Integer(4)), swap);
        let ngram = text("{\"method\":\"ngram\",\"num_speculative_tokens\":4}");
        let speculation = flag("speculative-config", ngram);
        refuses(
            &speculation,
            "NotImplementedError: Speculative decoding is not supported on this platform",
        );
        refuses(&speculation, "ValueError: ngram drafts need prompt_lookup_max");
    }

    #[test]
    fn another_checkpoint_is_refused_by_its_format() {
        let mut fp8 = arm(&[], &["model"]);
        fp8.model = Some("org/Mistral-7B-Instruct-v0.3-FP8".into());
        refuses(&fp8, &log("vllm-0.32.0-C8-fp8-dies.log"));
        refuses(&fp8, "ValueError: Unsupported quantization method");
        says_nothing_of(&fp8, "ValueError: instruct 7b v0 mistral");
    }

    #[test]
    fn the_surroundings_refuse_nothing() {
        let kv = flag("kv-cache-dtype", text("fp8"));
        for words in [
            "OSError: [Errno 98] Address already in use",
            "OSError: [Errno 28] No space left on device: '/tmp/fp8.bin'",
            "FileNotFoundError: [Errno 2] No such file or directory: 'kv_cache_dtype.json'",
            "PermissionError: [Errno 13] Permission denied: '/models/fp8'",
            "out of GPU memory: torch.OutOfMemoryError: CUDA out of memory while allocating the fp8 kv cache",
            "killed by SIGKILL, which servelab did not send (out of host memory? `dmesg` tells): kv_cache_dtype=fp8",
            "ModuleNotFoundError: No module named 'fp8_kernels'",
            "ConnectionRefusedError: [Errno 111] Connection refused",
        ] {
            says_nothing_of(&kv, words);
        }
    }

    #[test]
    fn words_about_something_else_refuse_nothing() {
        let kv = flag("kv-cache-dtype", text("fp8"));
        says_nothing_of(&kv, "ValueError: The model's cache config has no such size");
        says_nothing_of(
            &kv,
            "RuntimeError: Engine core initialization failed. See root cause above.",
        );
        says_nothing_of(&kv, "error: unrecognized arguments: --swap-space 4");
        let seqs = flag("max-num-seqs", ArgValue::Integer(98));
        says_nothing_of(&seqs, "RuntimeError: worker 98 did not answer");
        refuses(&seqs, "error: argument --max-num-seqs: invalid value: 98");
    }

    #[test]
    fn what_the_control_said_before_names_the_flag_too() {
        let (without, awq) = (arm(&[], &["quantization"]), flag("quantization", text("awq")));
        let words = "ValueError: weights are awq and nothing says so";
        assert!(refusal(&without, Some(&awq), words).is_some());
        says_nothing_of(&without, words);
    }

    #[test]
    fn a_baseline_is_never_refused() {
        let mut base = arm(&[("kv-cache-dtype", text("fp8"))], &[]);
        base.role = VariantRole::Baseline;
        says_nothing_of(&base, "ValueError: kv_cache_dtype fp8 is not supported");
    }
}
