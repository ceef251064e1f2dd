//! `servelab verify` from outside: a real run, its database and its report, then what was done to them.

use crate::support::{Project, command_output};
use serde_json::Value;
use servelab_evidence::names;
use std::fs;

const ARMS: &str = r#"
[load]
concurrency = 2

[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The reference"
args = { max-model-len = 8192, enable-prefix-caching = false }

[[variant]]
id = "C2"
factor = "max-num-seqs"
hypothesis = "Fewer sequences"
args = { max-num-seqs = 64 }
"#;

/// A project with one small run `r1`, in the database and with a report.
fn project() -> Project {
    let project = Project::new(2, 6);
    project.matrix("small", &[], "blocks = 2", ARMS);
    project
        .servelab(&["run", "matrix/small.toml", "--run-id", "r1"])
        .exits(0);
    project.servelab(&["ingest"]).exits(0);
    project.servelab(&["report", "r1"]).exits(0);
    project
}

#[test]
fn a_stranger_checks_a_run_its_database_and_its_report() {
    let project = project();
    let run = project.run("r1");
    let (summary, db) = (project.path("report/out/summary.json"), project.path("servelab.db"));
    let words = [
        "verify",
        "r1",
        "--format",
        "json",
        "--summary",
        summary.to_str().unwrap(),
    ];
    let said = project.servelab(&words).exits(0);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    let report = &answer["runs"][0];
    assert_eq!(
        (&answer["good"], &report["reached"]),
        (&Value::Bool(true), &Value::from("consistent"))
    );
    assert_eq!(report["fingerprint"], run.fingerprint().as_str());
    let notes = report["notes"].to_string();
    assert!(
        notes.contains("holds the same") && notes.contains("number by number"),
        "{notes}"
    );

    // A copy of the folder alone, somewhere else, under another name.
    let copy = project.path("elsewhere");
    copy_folder(run.dir(), &copy);
    let words_of_copy = [
        "verify",
        copy.to_str().unwrap(),
        "--fingerprint",
        run.fingerprint().as_str(),
    ];
    let said = project.command(&words_of_copy).env("COLUMNS", "80").output().unwrap();
    let said = command_output(&said).exits(0).out;
    assert!(
        said.contains("by the fingerprint that was given") && said.contains("another name"),
        "{said}"
    );
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    let other = "0".repeat(64);
    let said = project
        .servelab(&["verify", "r1", "--fingerprint", &other])
        .exits(4)
        .out;
    assert!(said.contains("none of the fingerprints"), "{said}");

    // A number of the report that follows from nothing.
    let text = fs::read_to_string(&summary).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    document["runs"][0]["metrics"][0]["value"] = Value::from(123_456.5);
    fs::write(&summary, document.to_string()).unwrap();
    let said = project.servelab(&words).exits(4);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    let breaks = answer["runs"][0]["breaks"].as_array().unwrap();
    assert_eq!(breaks.len(), 1, "{breaks:#?}");
    assert_eq!(
        (&breaks[0]["kind"], &breaks[0]["pointer"]),
        (&Value::from("summary"), &Value::from("/runs/0/metrics/0/value"))
    );

    // A database that somebody wrote to.
    let conn = rusqlite::Connection::open(&db).unwrap();
    let triggers: Vec<String> = {
        let mut query = conn
            .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            .unwrap();
        query
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    for trigger in triggers {
        conn.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    let changed = conn.execute(
        "UPDATE request SET ttft_ns = ttft_ns + 1000 WHERE measured AND outcome = 'completed'",
        [],
    );
    assert!(changed.unwrap() > 0);
    drop(conn);
    let said = project.servelab(&["verify", "r1"]).exits(4).out;
    assert!(
        said.contains("servelab.db") && said.contains("not what follows from the traces"),
        "{said}"
    );
}

/// What was wrapped, as it was written.
fn in_one_line(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_run_that_is_not_sealed_or_changed_is_named_with_its_remedy() {
    let project = project();
    let dir = project.path("runs/r1");
    let log = dir.join("trials/b01-01-C1-c2-t1").join(names::SERVER_LOG);
    let log = if log.exists() {
        log
    } else {
        dir.join("trials/b01-01-C2-c2-t1").join(names::SERVER_LOG)
    };
    fs::write(&log, "nothing happened\n").unwrap();
    let said = in_one_line(&project.servelab(&["verify", "r1"]).exits(4).out);
    assert!(
        said.contains("server.log") && said.contains("changed since the run was sealed"),
        "{said}"
    );
    assert!(!said.contains("findings.json"), "{said}");
    fs::remove_file(dir.join(names::MANIFEST)).unwrap();
    let said = in_one_line(&project.servelab(&["verify", "r1"]).exits(4).out);
    assert!(
        said.contains("no run_manifest.json") && said.contains("servelab seal"),
        "{said}"
    );
    let said = project.servelab(&["verify", "nowhere"]).exits(4).err;
    assert!(said.contains("there is no run `nowhere`"), "{said}");
}

/// What openssl says; others verify what we sign, and we what they sign.
fn openssl(words: &[&str]) {
    let said = std::process::Command::new("openssl").args(words).output();
    let said = said.unwrap_or_else(|why| panic!("openssl: {why}; apt-get install openssl"));
    assert!(
        said.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&said.stderr)
    );
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_run_is_signed_and_openssl_agrees() {
    let project = Project::new(1, 4);
    project.matrix("small", &[], "blocks = 1\norder = \"sequential\"", ARMS);
    let [key, public, other] = ["key.pem", "key.pub.pem", "other.pem"].map(|name| project.path(name));
    for key in [&key, &other] {
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", text(key)]);
    }
    openssl(&["pkey", "-in", text(&key), "-pubout", "-out", text(&public)]);
    let other_public = project.path("other.pub.pem");
    openssl(&["pkey", "-in", text(&other), "-pubout", "-out", text(&other_public)]);

    // Without a key that can be read nothing is measured.
    let missing = project.path("missing.pem");
    project
        .servelab(&["run", "matrix/small.toml", "--run-id", "r1", "--sign", text(&missing)])
        .exits(4);
    assert!(!project.path("runs/r1").exists());
    project
        .servelab(&["run", "matrix/small.toml", "--run-id", "r1", "--sign", text(&key)])
        .exits(0);
    let envelope = project.path("runs/r1.intoto.json");

    let said = project.servelab(&["verify", "r1"]).exits(0).out;
    assert!(in_one_line(&said).contains("not proven"), "{said}");
    let said = project.servelab(&["verify", "r1", "--key", text(&public)]).exits(0).out;
    assert!(
        said.contains("level of trust  signed") && said.contains("key.pub.pem"),
        "{said}"
    );
    let said = project
        .servelab(&["verify", "r1", "--key", text(&other_public)])
        .exits(4)
        .out;
    assert!(
        in_one_line(&said).contains("none of the keys that were given signed this run"),
        "{said}"
    );

    // Others verify what we signed: the bytes of DSSE, by openssl.
    let document: Value = serde_json::from_str(&fs::read_to_string(&envelope).unwrap()).unwrap();
    let part = |value: &Value, name: &str| {
        let (coded, raw) = (project.path(&format!("{name}.b64")), project.path(name));
        fs::write(&coded, value.as_str().unwrap()).unwrap();
        openssl(&["base64", "-d", "-A", "-in", text(&coded), "-out", text(&raw)]);
        raw
    };
    let payload = fs::read(part(&document["payload"], "payload")).unwrap();
    let signature = part(&document["signatures"][0]["sig"], "signature");
    let kind = "application/vnd.in-toto+json";
    let mut signed = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    signed.extend_from_slice(&payload);
    let message = project.path("message");
    fs::write(&message, &signed).unwrap();
    let (message, signature) = (text(&message).to_owned(), text(&signature).to_owned());
    openssl(&[
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        text(&public),
        "-rawin",
        "-in",
        &message,
        "-sigfile",
        &signature,
    ]);
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    let run = project.run("r1");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], run.fingerprint().as_str());

    // And we verify what openssl signed, beside our own signature.
    let theirs = project.path("theirs");
    openssl(&[
        "pkeyutl",
        "-sign",
        "-inkey",
        text(&other),
        "-rawin",
        "-in",
        &message,
        "-out",
        text(&theirs),
    ]);
    let coded = project.path("theirs.b64");
    openssl(&["base64", "-A", "-in", text(&theirs), "-out", text(&coded)]);
    let mut both = document.clone();
    let sig = fs::read_to_string(&coded).unwrap();
    let again = serde_json::json!({ "keyid": key_id(&project, &other_public), "sig": sig.trim() });
    both["signatures"].as_array_mut().unwrap().push(again);
    fs::write(&envelope, both.to_string()).unwrap();
    let words = ["verify", "r1", "--key", text(&public), "--key", text(&other_public)];
    let said = in_one_line(&project.servelab(&words).exits(0).out);
    assert!(said.contains("key.pub.pem") && said.contains("other.pub.pem"), "{said}");

    // A signature that somebody else made under the name of a key.
    both["signatures"][0]["sig"] = both["signatures"][1]["sig"].clone();
    fs::write(&envelope, both.to_string()).unwrap();
    let said = in_one_line(&project.servelab(&["verify", "r1", "--key", text(&public)]).exits(4).out);
    assert!(
        said.contains("is not one that") && said.contains("r1.intoto.json"),
        "{said}"
    );
    fs::remove_file(&envelope).unwrap();
    let said = in_one_line(&project.servelab(&["verify", "r1", "--key", text(&public)]).exits(4).out);
    assert!(said.contains("there is no signature beside the run"), "{said}");
}

/// SHA-256 of the public key's DER, by openssl.
fn key_id(project: &Project, public: &std::path::Path) -> String {
    let der = project.path("key.der");
    openssl(&[
        "pkey",
        "-pubin",
        "-in",
        text(public),
        "-outform",
        "DER",
        "-out",
        text(&der),
    ]);
    servelab_evidence::sha256_file(&der).unwrap().1.to_string()
}

#[test]
fn keys_come_from_a_closed_file_or_the_environment_and_go_nowhere() {
    use std::os::unix::fs::PermissionsExt;
    let project = project();
    let key = project.path("key.pem");
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", text(&key)]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let said = project.servelab(&["sign", "r1", "--key", text(&key)]).exits(4).err;
    assert!(said.contains("chmod 600"), "{said}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let locked = project.path("locked.pem");
    openssl(&[
        "pkey",
        "-in",
        text(&key),
        "-aes256",
        "-passout",
        "pass:secret",
        "-out",
        text(&locked),
    ]);
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o600)).unwrap();
    let said = project.servelab(&["sign", "r1", "--key", text(&locked)]).exits(4).err;
    assert!(in_one_line(&said).contains("the private key is encrypted"), "{said}");
    let said = project.servelab(&["sign", "r1"]).exits(2).err;
    assert!(said.contains("SERVELAB_SIGNING_KEY"), "{said}");

    // By the environment; the engine's log, the run and its page hold nothing of it.
    let pem = fs::read_to_string(&key).unwrap();
    let secret = pem.lines().nth(1).unwrap();
    let mut command = project.command(&["run", "matrix/small.toml", "--run-id", "r2", "--sign", "env"]);
    command.env("SERVELAB_SIGNING_KEY", &pem);
    let said = command.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(project.path("runs/r2.intoto.json").exists());
    for path in servelab_evidence::Listing::of(&project.path("runs")).files {
        let bytes = fs::read(project.path("runs").join(&path.path)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(secret), "{}", path.path);
    }
    // What does not verify is not signed.
    fs::write(project.path("runs/r2/events.jsonl"), "").unwrap();
    let said = project.servelab(&["sign", "r2", "--key", text(&key)]).exits(4).err;
    assert!(
        in_one_line(&said).contains("is not signed, it does not verify: events.jsonl"),
        "{said}"
    );
}
