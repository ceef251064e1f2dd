//! Temporary.
use servelab_simengine::tokenizer::*;
use std::time::Instant;
fn main() {
    let t = ModelTokenizer::load(std::path::Path::new("datasets/tokenizers/mistral-7b-instruct-v0.3")).unwrap();
    let text = std::fs::read_to_string("/work/shared/DESIGN.md").unwrap().repeat(3);
    for n in [2000usize, 9000, 32000] {
        let mut end = n;
        while !text.is_char_boundary(end) {
            end += 1;
        }
        let m = [Message {
            role: "user".into(),
            content: text[..end].to_owned(),
        }];
        let ids = t.chat_ids(&m, true).unwrap().len();
        let t0 = Instant::now();
        for _ in 0..10 {
            t.chat_ids(&m, true).unwrap();
        }
        println!("{n} bytes {ids} tokens {:?}", t0.elapsed() / 10);
    }
}
