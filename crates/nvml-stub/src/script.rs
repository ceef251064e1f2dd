//! The script: text in, what holds at a moment out.

use std::{collections::BTreeMap, fs, path::Path};

/// What one GPU says, by key; `energy` already counts.
pub(crate) type Values = BTreeMap<String, String>;

/// A script at one moment.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    /// The code with which the library refuses to start.
    pub(crate) init: Option<u32>,
    /// Its GPUs.
    pub(crate) gpus: Vec<Values>,
}

/// Reads both files of a folder; without a script there is no GPU.
pub(crate) fn read(folder: &Path) -> Scene {
    let file = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let now = file("gpu.now").trim().parse().unwrap_or(0);
    scene(&file("gpu.script"), now)
}

/// The script at `now` milliseconds.
fn scene(script: &str, now: u64) -> Scene {
    let mut scene = Scene::default();
    for section in script.split("gpu\n").skip(1) {
        scene.gpus.push(gpu(section, now));
    }
    let init = script.lines().find_map(|line| line.strip_prefix("init "));
    scene.init = init.and_then(|code| code.trim().parse().ok());
    scene
}

fn gpu(lines: &str, now: u64) -> Values {
    let mut values = Values::new();
    // Microjoules: milliwatts times milliseconds.
    let (mut last, mut energy) = (0_u64, 0_u64);
    let power = |values: &Values| values.get("power").and_then(|p| p.parse::<u64>().ok()).unwrap_or(0);
    for line in lines.lines() {
        let mut words = line.split_whitespace();
        let Some(at) = words.next().and_then(|w| w.parse::<u64>().ok()) else {
            continue;
        };
        if at > now {
            break;
        }
        energy = energy.saturating_add(at.saturating_sub(last).saturating_mul(power(&values)));
        last = at;
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            match value {
                "-" => values.remove(key),
                _ => values.insert(key.to_owned(), value.replace('_', " ")),
            };
        }
    }
    energy = energy.saturating_add(now.saturating_sub(last).saturating_mul(power(&values)));
    if let Some(base) = values.get("energy").and_then(|e| e.parse::<u64>().ok()) {
        let counted = base.saturating_add(energy / 1000);
        values.insert("energy".to_owned(), counted.to_string());
    }
    values
}
