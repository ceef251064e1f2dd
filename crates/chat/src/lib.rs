//! Renders Hugging Face chat templates and counts tokens exactly as an inference engine does.
//!
//! The packer (`workload`) and the simulated engine share this room. That they agree with each other proves nothing;
//! the proof is the golden file in `tests/data` and a real engine's `/tokenize`. This room reads the three files of a
//! tokenizer directory and nothing else: no network, no clock, and it knows nothing of prompts, buckets or budgets.
//!
//! Parts: `tokenizer` loads a directory and counts; `template` renders with minijinja as `transformers` does with Jinja;
//! `tojson`, `pyfloat` and `date` are what Python does otherwise: `json.dumps` in a key's own order, floats in the shortest
//! form, `strftime_now` with a date that is injected.
//!
//! Formats: `tokenizer.json`, `tokenizer_config.json` (special tokens; the template where no file has it) and
//! `chat_template.jinja`, which counts before the key. All are Hugging Face's.
//!
//! Traps: a template writes its own special tokens, so its text is encoded without adding them again. A count of parts is
//! not the count of their sum: merges cross borders, only whole prompts count. Minijinja is not Jinja; a template that
//! renders otherwise here is a fault of this room, and the golden file grows by it.
//!
//! ```no_run
//! use servelab_chat::{ChatMessage, ChatTokenizer};
//! # fn main() -> Result<(), servelab_chat::ChatError> {
//! let chat = ChatTokenizer::load("datasets/tokenizers/mistral-7b-instruct-v0.3")?;
//! let tokens = chat.count_chat(&[ChatMessage::user("Hello!")])?;
//! assert_eq!(tokens, 5);
//! # Ok(())
//! # }
//! ```

mod date;
mod error;
mod pyfloat;
mod template;
mod tojson;
mod tokenizer;

pub use date::FixedDate;
pub use error::ChatError;
pub use template::{ChatMessage, ChatTemplate};
pub use tokenizer::ChatTokenizer;
