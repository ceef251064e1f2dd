//! The L4 prompt sets, built once.

use servelab_workload::build;
use std::path::Path;

#[test]
fn builds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = std::env::temp_dir().join("wl-try");
    match build(&root.join("datasets/l4.toml"), &out, 2, &|_| ()) {
        Ok(r) => panic!("{r:#?}"),
        Err(e) => panic!("{e}"),
    }
}
