//! A project of a few records, for tests that build it more than once.

use std::{
    fmt::Write as _,
    io::{Read, Write as _},
    path::{Path, PathBuf},
};

/// The project that is being tested.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The shipped dataset's TOML.
pub(crate) fn l4() -> String {
    std::fs::read_to_string(root().join("datasets/l4.toml")).unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A project in a temporary folder: the first records of each text, and a TOML that asks for 4 prompts a cell.
pub(crate) struct SmallProject {
    pub(crate) dir: tempfile::TempDir,
}

impl SmallProject {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let project = Self { dir };
        for folder in ["datasets/texts", "prompts", "out"] {
            std::fs::create_dir_all(project.path(folder)).unwrap();
        }
        let tokenizer = "datasets/tokenizers/mistral-7b-instruct-v0.3";
        std::fs::create_dir_all(project.path(tokenizer)).unwrap();
        for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
            let file = format!("{tokenizer}/{file}");
            std::fs::copy(root().join(&file), project.path(&file)).unwrap();
        }
        for file in ["summarisation.j2", "qa.j2", "dialogue.j2"] {
            let file = format!("prompts/{file}");
            std::fs::copy(root().join(&file), project.path(&file)).unwrap();
        }
        let mut config: Vec<String> = l4()
            .lines()
            // the pins are those of the full set
            .map(|line| match line {
                "per_cell = 200" => "per_cell = 4".to_owned(),
                "per_cell = 10" => "per_cell = 1".to_owned(),
                "blocks = 10" | "blocks = 4" => "blocks = 2".to_owned(),
                "reserve_percent = 8" => "reserve_percent = 25".to_owned(),
                line => line.to_owned(),
            })
            .collect();
        let datasets = config.iter().position(|line| line == "[[dataset]]").unwrap();
        for line in config.iter_mut().take(datasets) {
            if line.starts_with("sha256 = ") {
                line.clear();
            }
        }
        let mut text = config.join("\n");
        for (file, records, all) in [
            ("austen", 40, 269),
            ("shakespeare", 60, 700),
            ("factbook", 250, 2520),
            ("chitchat", 500, 3766),
        ] {
            let path = format!("datasets/texts/{file}.jsonl.gz");
            let packed = std::fs::read(root().join(&path)).unwrap();
            let mut lines = String::new();
            flate2::read::GzDecoder::new(packed.as_slice())
                .read_to_string(&mut lines)
                .unwrap();
            let few: String = lines.lines().take(records).flat_map(|line| [line, "\n"]).collect();
            let old = sha256(&packed);
            let new = project.write_gz(&path, &few);
            assert!(
                text.contains(&old) && text.contains(&format!("records = {all}\n")),
                "{file}"
            );
            text = text
                .replace(&old, &new)
                .replace(&format!("records = {all}\n"), &format!("records = {records}\n"));
        }
        project.write("datasets/l4.toml", &text);
        project
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("datasets/l4.toml")
    }

    pub(crate) fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative)).unwrap()
    }

    pub(crate) fn write(&self, relative: &str, text: &str) {
        std::fs::write(self.path(relative), text).unwrap();
    }

    /// Replaces a text in a file that must hold it.
    pub(crate) fn edit(&self, relative: &str, from: &str, to: &str) {
        let text = self.read(relative);
        assert!(text.contains(from), "{relative} does not hold {from}");
        self.write(relative, &text.replacen(from, to, 1));
    }

    /// Writes a packed file and returns its hash.
    pub(crate) fn write_gz(&self, relative: &str, text: &str) -> String {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        let packed = encoder.finish().unwrap();
        std::fs::write(self.path(relative), &packed).unwrap();
        sha256(&packed)
    }
}
