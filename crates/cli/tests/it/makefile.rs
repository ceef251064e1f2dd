//! The Makefile finds the program wherever cargo is told to build it. Nothing is built: `make -n` only says what it would do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What `make -n demo` would do in `folder`, with cargo told by `variable` alone.
fn would_do(folder: &Path, variable: Option<&str>) -> String {
    let mut make = Command::new("make");
    make.args(["-n", "demo"]).current_dir(folder);
    // Neither a make around the tests nor this user's cargo has a word in it.
    for name in [
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET_DIR",
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
    ] {
        make.env_remove(name);
    }
    make.env("CARGO_HOME", folder.join("cargo-home"));
    if let Some(value) = variable {
        make.env("CARGO_TARGET_DIR", value);
    }
    let output = make
        .output()
        .unwrap_or_else(|e| panic!("make: {e}; apt-get install make"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A folder with the project's Makefile and nothing that takes time: an empty workspace.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let makefile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Makefile");
    fs::copy(makefile, path.join("Makefile")).unwrap();
    fs::write(path.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = []\n").unwrap();
    fs::write(path.join("Cargo.lock"), "version = 4\n").unwrap();
    fs::create_dir(path.join("crates")).unwrap();
    (dir, path)
}

/// The program is marked as built where it is, and each stage is done with that one.
fn check(said: &str, target: &Path) {
    let program = target.join("release/servelab");
    let program = program.display();
    for line in [
        format!("touch {program}"),
        format!("{program} dataset build datasets/l4.toml"),
        format!("{program} run matrix/sanity.toml --no-report"),
        format!("{program} run matrix/demo.toml"),
    ] {
        assert!(said.lines().any(|l| l == line), "no line `{line}` in\n{said}");
    }
}

#[test]
fn the_program_is_where_cargo_says() {
    let (_guard, path) = folder();
    check(&would_do(&path, None), &path.join("target"));
    check(
        &would_do(&path, Some("/elsewhere/built")),
        Path::new("/elsewhere/built"),
    );
    check(&would_do(&path, Some("out")), &path.join("out"));

    fs::create_dir(path.join(".cargo")).unwrap();
    fs::write(path.join(".cargo/config.toml"), "[build]\ntarget-dir = \"by-config\"\n").unwrap();
    check(&would_do(&path, None), &path.join("by-config"));
    check(&would_do(&path, Some("out")), &path.join("out"));
}
