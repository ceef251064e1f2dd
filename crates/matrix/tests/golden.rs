//! The order of a plan's trials and prompts, pinned. Where this changes, a plan that was made before is made otherwise: that
//! needs a new METHOD_VERSION and is never a library's update.

#![expect(clippy::unwrap_used, clippy::as_conversions, unreachable_pub, reason = "tests")]

mod common;

use common::Project;

#[test]
fn the_demo_s_order() {
    let plan = Project::new().with_matrices().resolve("matrix/demo.toml").unwrap().plan;
    let blocks: Vec<String> = plan
        .blocks
        .iter()
        .take(3)
        .map(|b| {
            let cells: Vec<String> = b.trials.iter().map(|t| format!("{}/{}", t.variant, t.load)).collect();
            let prompts: Vec<&str> = b.prompts.iter().take(4).map(|p| p.as_str()).collect();
            format!("{} | {} | {}", b.seed, cells.join(" "), prompts.join(" "))
        })
        .collect();
    assert_eq!(
        blocks,
        [
            "1416327661008458 | C5/c16 C7/c16 C3/c16 C8/c16 C1s/c16 C4/c16 C1b/c16 C6/c16 C2/c16 C1/c16 | qa-S-0100 summarisation-S-0100 dialogue-L-0100 qa-L-0100",
            "6728143794655029 | C2/c16 C1b/c16 C4/c16 C3/c16 C7/c16 C1/c16 C5/c16 C1s/c16 C8/c16 C6/c16 | qa-L-0200 qa-S-0200 dialogue-S-0200 summarisation-L-0200",
            "1697906275172287 | C4/c16 C1/c16 C2/c16 C1s/c16 C6/c16 C7/c16 C1b/c16 C3/c16 C5/c16 C8/c16 | qa-M-0301 summarisation-S-0300 summarisation-M-0300 summarisation-S-0301",
        ],
        "where the demo itself was changed, take the new order; otherwise see the head of this file"
    );
}
