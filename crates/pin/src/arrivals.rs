//! The arrivals that a plan stands for: drawn again where it is run, so what a pin keeps of them is their hash.

use servelab_load::arrivals::measured;
use servelab_schema::{Load, Nanos, PinnedArrivals, Plan, Sha256Hex};
use sha2::{Digest, Sha256};

/// Those of every open loop in every block; a closed loop has none.
pub(crate) fn of(plan: &Plan) -> Vec<PinnedArrivals> {
    let mut all = Vec::new();
    for named in &plan.loads {
        let Load::Open { rate_per_s, arrivals } = named.load else {
            continue;
        };
        for block in &plan.blocks {
            let schedule = measured(arrivals, rate_per_s, block.seed).fill(block.prompts.len());
            all.push(PinnedArrivals {
                load: named.id.clone(),
                block: block.block,
                requests: u32::try_from(block.prompts.len()).unwrap_or(u32::MAX),
                sha256: hash(&schedule.offsets),
            });
        }
    }
    all
}

fn hash(offsets: &[Nanos]) -> Sha256Hex {
    let mut digest = Sha256::new();
    for offset in offsets {
        digest.update(format!("{}\n", offset.0));
    }
    Sha256Hex::from_bytes(digest.finalize().into())
}
