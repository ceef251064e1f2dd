//! Renders Hugging Face chat templates and counts tokens exactly as an inference engine does.
//!
//! The packer (`workload`) and the simulated engine share this room. That they agree with each other proves nothing;
//! the proof is the golden file in `tests/data` and a real engine's `/tokenize`. This room reads the three files of a
//! tokenizer directory and nothing else: no network, no clock (the date that a template may print is injected), and it
//! knows nothing of prompts, buckets or budgets.
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
