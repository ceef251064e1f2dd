//! What a scripted server is: one folder of `tests/data/servers`.

use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The folder of all of them.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/servers")
}

/// One server, as its `profile.toml` has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Profile {
    /// Its name in the table.
    pub(crate) server: String,
    /// The version that is imitated.
    pub(crate) version: String,
    /// The model that it serves.
    pub(crate) model: String,
    /// What it does with its connection once a stream has ended.
    #[serde(default)]
    pub(crate) after_stream: AfterStream,
    /// Fields that bound the length of an answer, the first one present.
    pub(crate) limits: Vec<String>,
    /// True where `ignore_eos` makes an answer as long as its bound.
    #[serde(default)]
    pub(crate) ignores_eos: bool,
    /// The key that it wants as a bearer token; none where anybody may ask.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// True where lines of its streams end in CR LF.
    #[serde(default)]
    pub(crate) crlf: bool,
    /// Events that leave together at the start of a stream.
    #[serde(default)]
    pub(crate) together: usize,
    /// Which test runs the real one; none where none does.
    #[serde(default)]
    pub(crate) real: Option<String>,
    /// What is odd about it.
    pub(crate) quirk: Vec<Quirk>,
    /// What it does not take, the first one that holds.
    #[serde(default)]
    pub(crate) refuses: Vec<Refusal>,
    /// Its pages; whatever else is asked for is `unknown`.
    #[serde(default)]
    pub(crate) page: Vec<Page>,
    /// What stands where there is nothing.
    pub(crate) unknown: Answer,
    /// The loads that are put on it.
    pub(crate) case: Vec<Case>,
    /// Where it was read from.
    #[serde(skip)]
    pub(crate) home: PathBuf,
}

/// What a server does with its connection once a stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AfterStream {
    /// Keeps it.
    #[default]
    Keeps,
    /// Says that it keeps it, and closes it when the next request has come, without a byte.
    ClosesSilently,
}

/// Something that a server does and others do not, and how that is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quirk {
    /// In a sentence.
    pub(crate) what: String,
    /// How that is known.
    #[serde(flatten)]
    pub(crate) source: Source,
}

/// How something is known of a server.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// The wire of a real one was recorded: the name of the recording.
    Recorded(String),
    /// Its documentation, source or issues say so: where.
    Documented(String),
}

/// A status and a body.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// The body; `{{…}}` as in a stream.
    pub(crate) body: String,
    /// Its content type.
    #[serde(default = "json")]
    pub(crate) kind: String,
}

fn json() -> String {
    "application/json".to_owned()
}

/// A field that is not taken.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusal {
    /// Where it stands in the body, such as `stream_options.continuous_usage_stats`.
    pub(crate) field: String,
    /// The value that is not taken; none where no value is.
    #[serde(default)]
    pub(crate) value: Option<Value>,
    /// A value that is taken, every other one not.
    #[serde(default)]
    pub(crate) unless: Option<Value>,
    /// The words.
    pub(crate) says: Answer,
}

impl Refusal {
    /// True where it holds for this body.
    pub(crate) fn holds(&self, body: &Value) -> bool {
        let Some(found) = at(body, &self.field) else {
            return false;
        };
        self.value.as_ref().is_none_or(|value| same(value, found))
            && self.unless.as_ref().is_none_or(|value| !same(value, found))
    }
}

/// Equal, where 0 and 0.0 are.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() < f64::EPSILON,
        _ => a == b,
    }
}

/// What stands at a dotted path.
pub(crate) fn at<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(body, |value, name| value.get(name))
}

/// A page.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Such as `GET /v1/models`.
    pub(crate) ask: String,
    /// What it says.
    pub(crate) says: Answer,
}

/// One load on the server, and what must come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Case {
    /// `chat` or `completions`.
    pub(crate) endpoint: String,
    /// The file of its stream, without `.sse`.
    pub(crate) stream: String,
    /// What the model would say before it stops, in tokens.
    #[serde(default = "Case::natural")]
    pub(crate) natural: u32,
    /// Asked for with `--ignore-eos`.
    #[serde(default)]
    pub(crate) ignore_eos: bool,
    /// What must come of it.
    pub(crate) expect: Expected,
}

impl Case {
    const fn natural() -> u32 {
        9
    }
}

/// What must come of a load, in the words of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Expected {
    /// Requests that completed, of [`REQUESTS`](crate::play::REQUESTS).
    pub(crate) completed: u32,
    /// `token` or `content`; none where nothing completed.
    pub(crate) ttft: Option<String>,
    /// Who counted the tokens.
    pub(crate) counted_by: Option<String>,
    /// Requests that failed, by reason.
    #[serde(default)]
    pub(crate) failed: BTreeMap<String, u32>,
    /// What servelab found that is not as vLLM has it: fields of `Capabilities`.
    #[serde(default)]
    pub(crate) finds: BTreeMap<String, String>,
}

impl Profile {
    /// The profile of that name.
    pub(crate) fn read(name: &str) -> Self {
        let home = folder().join(name);
        let path = home.join("profile.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut profile: Self = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        profile.home = home;
        profile
    }

    /// Every profile, by name of its folder.
    pub(crate) fn all() -> Vec<Self> {
        let mut names: Vec<String> = fs::read_dir(folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names.iter().map(|name| Self::read(name)).collect()
    }
}
