//! The page in a real browser: no error, the numbers of `summary.json`, sorting by keyboard, the dark theme, and what a screen
//! reader and a keyboard need: everything in a landmark, landmarks told apart by name, what scrolls sideways in reach of Tab
//! (axe's rules `region`, `landmark-unique` and `scrollable-region-focusable`).
//!
//! Drives Debian's Chromium without a display and without a network. A machine that lacks it fails this test; the message
//! says how to install it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../../store/tests/support/mod.rs"]
mod support;

use serde_json::Value;
use servelab_report::build;
use servelab_schema::RunId;
use servelab_store::Store;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use support::{Arm, Fixture};
use tempfile::TempDir;

/// Collects errors from before the page's own script on; goes in as the first script.
const WATCH: &str = r#"<script>
window.watched = [];
addEventListener("error", (e) => watched.push(`error: ${e.message}`));
addEventListener("unhandledrejection", (e) => watched.push(`rejection: ${e.reason}`));
addEventListener("securitypolicyviolation", (e) => watched.push(`policy: ${e.violatedDirective} ${e.blockedURI}`));
for (const level of ["error", "warn"]) { console[level] = (...words) => watched.push(`${level}: ${words.join(" ")}`); }
</script>"#;

/// Uses the page as a person at a keyboard does and writes down what it sees; goes in as the last script.
const VISIT: &str = r#"<script>
const seen = {};
const cell = (td) => ({ text: td.innerText.trim(), sort: td.dataset.sort ?? null });
seen.rows = {};
for (const row of document.querySelectorAll("tr[data-key]")) { seen.rows[row.dataset.key] = [...row.cells].map(cell); }

// The first table of effects: a page of several runs begins with a list of them.
const isEffect = (th) => th.innerText.startsWith("Effect");
const table = [...document.querySelectorAll("table.sortable")].find((t) => [...t.tHead.rows[0].cells].some(isEffect));
const heads = [...table.tHead.rows[0].cells];
const effect = heads.findIndex(isEffect);
const button = heads[effect].querySelector("button");
// Enter on a focused button is a click: the page must rely on nothing else.
const press = () => { button.focus(); seen.focused = document.activeElement === button; button.click(); };
const order = () => [...table.tBodies[0].rows].map((row) => row.cells[effect].dataset.sort ?? "");
press();
seen.ascending = { order: order(), aria: heads[effect].getAttribute("aria-sort") };
press();
seen.descending = { order: order(), aria: heads[effect].getAttribute("aria-sort") };
seen.sorted = heads.filter((th) => th.hasAttribute("aria-sort")).length;

const theme = document.getElementById("theme");
const colours = () => ({
  theme: document.documentElement.dataset.theme ?? "auto",
  page: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  axis: getComputedStyle(document.querySelector("figure svg text")).fill,
});
seen.themes = [];
for (let i = 0; i < 3; i++) { seen.themes.push(colours()); theme.click(); }
seen.back = colours();

dispatchEvent(new Event("beforeprint"));
seen.folded = document.querySelectorAll("details:not([open])").length;

// While all is unfolded. An element is a landmark by its role; header and footer are one outside main alone.
const named = (e) => e.getAttribute("aria-label")
  ?? (e.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.innerText ?? "").join(" ").trim();
const kinds = { MAIN: "main", NAV: "navigation", ASIDE: "complementary" };
const landmark = (e) => {
  if (e.hasAttribute("role")) {
    return ["region", "banner", "main", "navigation", "complementary", "contentinfo"].find((r) => r === e.getAttribute("role"));
  }
  if (e.tagName === "SECTION") { return named(e) ? "region" : undefined; }
  if (["HEADER", "FOOTER"].includes(e.tagName)) { return e.closest("main, section") ? undefined : e.tagName; }
  return kinds[e.tagName];
};
const all = [...document.body.querySelectorAll("*")];
const inside = (e) => e && e !== document.body && (landmark(e) || inside(e.parentElement));
const speaks = (e) => [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
const where = (e) => `${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 40)}`;
seen.outside = all.filter((e) => speaks(e) && !inside(e) && !e.closest("script, style, .skip")).map(where);
const marks = all.filter(landmark).map((e) => `${landmark(e)} ${named(e)}`);
seen.landmarks = marks.length;
seen.twins = marks.filter((m, i) => marks.indexOf(m) !== i);
const sideways = all.filter((e) => ["auto", "scroll"].includes(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth);
seen.sideways = sideways.length;
seen.stuck = sideways.filter((e) => !e.querySelector("a, button") && (e.tabIndex !== 0 || !named(e))).map(where);

dispatchEvent(new Event("afterprint"));
seen.refolded = document.querySelectorAll("details:not([open])").length;

seen.wider = document.documentElement.scrollWidth > document.documentElement.clientWidth;
seen.injected = document.querySelectorAll("main script, main img, main [onclick], main [onload]").length;
seen.outward = performance.getEntriesByType("resource").map((r) => r.name).filter((n) => !n.startsWith("data:"));
seen.watched = watched;
const out = document.createElement("pre");
out.id = "seen";
out.textContent = `SEEN${encodeURIComponent(JSON.stringify(seen))}SEEN`;
document.body.append(out);
</script>"#;

fn chromium() -> Command {
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            Command::new(name)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok()
        });
    let name = found.expect("no Chromium on this machine: `apt-get install chromium`, then run the tests again");
    Command::new(name)
}

/// What the visit saw on the page at that window size.
fn visit(page: &Path, dir: &Path, size: &str) -> Value {
    let profile = TempDir::new().unwrap();
    let watched = fs::read_to_string(page)
        .unwrap()
        .replacen("<style>", &format!("{WATCH}<style>"), 1);
    let watched = watched.replacen("</body>", &format!("{VISIT}</body>"), 1);
    let copy = dir.join("visited.html");
    fs::write(&copy, watched).unwrap();
    let output = chromium()
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args(["--disable-extensions", "--proxy-server=127.0.0.1:9", "--dump-dom"])
        .arg(format!("--window-size={size}"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", copy.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let words = || format!("{dom:.2000}\n{}", String::from_utf8_lossy(&output.stderr));
    let seen = dom
        .rsplit("SEEN")
        .nth(1)
        .unwrap_or_else(|| panic!("the visit did not end:\n{}", words()));
    serde_json::from_str(&decoded(seen)).unwrap()
}

/// Undoes `encodeURIComponent`.
fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
            out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).unwrap()
}

/// A page and what `summary.json` beside it says. It stays in the build folder, to be looked at.
fn made(name: &str, fixtures: &[Fixture]) -> (PathBuf, Value) {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(&dir.path().join("servelab.db")).unwrap();
    for fixture in fixtures {
        store.ingest(&fixture.sealed(dir.path())).unwrap();
    }
    let ids: Vec<RunId> = fixtures.iter().map(|f| RunId::new(&*f.run_id).unwrap()).collect();
    let files = build(&store, &ids, &out).unwrap();
    (
        files.html,
        serde_json::from_str(&fs::read_to_string(files.json).unwrap()).unwrap(),
    )
}

/// A printed number: the page's minus sign, thin spaces and units undone.
fn printed(text: &str) -> f64 {
    let plain: String = text
        .chars()
        .filter(|c| c.is_ascii_digit() || matches!(c, '.' | '−'))
        .collect();
    plain
        .replace('−', "-")
        .parse()
        .unwrap_or_else(|_| panic!("no number in {text:?}"))
}

fn check_number(shown: &Value, said: &Value, decimals: f64, what: &str) {
    let text = shown["text"].as_str().unwrap();
    match said.as_f64() {
        None => assert_eq!(text, "–", "{what}"),
        Some(p) if text.starts_with('<') => assert!(p < printed(text), "{what}: {text} against {p}"),
        Some(value) => {
            assert!(
                (printed(text) - value).abs() <= 0.5001 * 0.1_f64.powf(decimals),
                "{what}: {text} against {value}"
            );
        }
    }
}

/// Every row of the verdict table against `summary.json`.
fn check_verdicts(seen: &Value, json: &Value) {
    let run = &json["runs"][0];
    let all = run["comparisons"]
        .as_array()
        .unwrap()
        .iter()
        .chain(run["aa"].as_array().unwrap());
    let primary: Vec<&Value> = all.filter(|c| c["primary"] == true).collect();
    assert_eq!(seen["rows"].as_object().unwrap().len(), primary.len());
    for c in primary {
        let key = c["key"].as_str().unwrap();
        let cells = &seen["rows"][key];
        assert!(cells.is_array(), "{key} is not on the page");
        assert!(
            cells[0]["text"]
                .as_str()
                .unwrap()
                .starts_with(c["variant"].as_str().unwrap()),
            "{key}"
        );
        assert_eq!(cells[1]["text"], c["control"], "{key}");
        check_number(&cells[2], &c["effect_percent"], 1.0, key);
        if let Some(value) = c["effect_percent"].as_f64() {
            let full: f64 = cells[2]["sort"].as_str().unwrap().parse().unwrap();
            assert!(
                (full - value).abs() <= value.abs() * 1e-12,
                "{key}: {full} against {value}"
            );
            let interval = cells[3]["text"].as_str().unwrap();
            let (low, high) = interval.split_once(" to ").unwrap();
            assert!(
                (printed(low) - c["interval"]["low"].as_f64().unwrap()).abs() <= 0.0501,
                "{key}: {interval}"
            );
            assert!(
                (printed(high) - c["interval"]["high"].as_f64().unwrap()).abs() <= 0.0501,
                "{key}: {interval}"
            );
        }
        let verdict = cells[4]["text"].as_str().unwrap().to_lowercase().replace(' ', "-");
        let took_effect = ["CONFIRMED", "UNOBSERVABLE"].map(Value::from).contains(&c["treatment"]);
        let void = c["verdict"] == "not-comparable" && !took_effect;
        let said = c[if void { "treatment" } else { "verdict" }]
            .as_str()
            .unwrap()
            .to_lowercase();
        let said = said.replace("aa-", "a/a-");
        assert!(verdict.contains(&said), "{key}: {verdict} against {said}");
        assert_eq!(cells[5]["text"], format!("{} of {}", c["n"], c["n_planned"]), "{key}");
        check_number(&cells[6], &c["p_adjusted"], 3.0, key);
        check_number(&cells[7], &c["p_t"], 3.0, key);
        check_number(&cells[8], &c["p_sign_flip"], 3.0, key);
    }
}

/// Everything stands in a landmark, no two landmarks have one name, and what scrolls sideways is in the keyboard's reach.
fn check_reachable(seen: &Value) {
    for rule in ["outside", "twins", "stuck"] {
        assert_eq!(seen[rule], serde_json::json!([]), "{rule}");
    }
    assert!(seen["landmarks"].as_u64().unwrap() >= 5, "{}", seen["landmarks"]);
}

fn check_order(order: &Value, sign: f64) {
    let order: Vec<&str> = order.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    let numbers: Vec<f64> = order
        .iter()
        .take_while(|v| !v.is_empty())
        .map(|v| v.parse().unwrap())
        .collect();
    assert!(numbers.len() > 2);
    assert!(numbers.windows(2).all(|w| sign * w[0] <= sign * w[1]), "{numbers:?}");
    assert!(
        order[numbers.len()..].iter().all(|v| v.is_empty()),
        "rows without a value come last: {order:?}"
    );
}

/// The study with all that a run can hold: texts, engine metrics, GPUs.
fn everything(run_id: &str) -> Fixture {
    let mut fixture = Fixture {
        full: true,
        gpu: true,
        ..Fixture::study(run_id)
    };
    fixture.arms[6].right = 0.5;
    fixture
}

#[test]
fn the_study_in_a_browser() {
    let (page, json) = made("report-study", &[everything("c1-c8-study")]);
    let dir = TempDir::new().unwrap();
    let seen = visit(&page, dir.path(), "1400,1000");
    assert_eq!(seen["watched"], serde_json::json!([]));
    assert_eq!(seen["outward"], serde_json::json!([]));
    check_verdicts(&seen, &json);

    assert_eq!(seen["focused"], true);
    assert_eq!(
        (&seen["ascending"]["aria"], &seen["descending"]["aria"]),
        (&"ascending".into(), &"descending".into())
    );
    assert_eq!(seen["sorted"], 1);
    check_order(&seen["ascending"]["order"], 1.0);
    check_order(&seen["descending"]["order"], -1.0);

    let themes = seen["themes"].as_array().unwrap();
    let names: Vec<&str> = themes.iter().map(|t| t["theme"].as_str().unwrap()).collect();
    assert_eq!(names, ["auto", "light", "dark"]);
    for part in ["page", "ink", "axis"] {
        assert_ne!(themes[1][part], themes[2][part], "{part} is the same in light and dark");
    }
    assert_eq!(seen["back"]["theme"], "auto");
    // On paper nothing is folded; afterwards everything is as it was.
    assert_eq!(seen["folded"], 0);
    assert!(seen["refolded"].as_u64().unwrap() > 0);
    check_reachable(&seen);
}

#[test]
fn three_runs_on_one_page() {
    let runs = ["study-a", "study-b", "study-c"].map(everything);
    let (page, _) = made("report-three", &runs);
    let dir = TempDir::new().unwrap();
    let seen = visit(&page, dir.path(), "500,900");
    assert_eq!(seen["watched"], serde_json::json!([]));
    assert_eq!(seen["wider"], false, "the page scrolls sideways in a narrow window");
    check_reachable(&seen);
    // Plots and tables of three runs: a window this narrow cannot hold them.
    assert!(seen["sideways"].as_u64().unwrap() > 10, "{}", seen["sideways"]);
}

#[test]
fn a_narrow_window_and_hostile_words() {
    let words = [
        "<script>watched.push('ran')</script>",
        "<img src=x onerror=\"watched.push('ran')\">",
        "=1+1\n\"x\"",
    ];
    let hypothesis = format!("{}</table><svg onload=\"watched.push('ran')\">", words[0]);
    let arm = Arm {
        hypothesis,
        ..Arm::new("C2", "<i onclick=\"watched.push('ran')\">factor</i>", 1.3)
    };
    let failures = words.map(str::to_owned).to_vec();
    let fixture = Fixture {
        arms: vec![arm, Arm::new("C3", "eager", 0.8)],
        failures,
        full: true,
        gpu: true,
        natural: true,
        words: Some(format!("{}{}", words.concat(), "x".repeat(2_000))),
        ..Fixture::small("hostile")
    };
    let (page, json) = made("report-hostile", &[fixture]);
    let dir = TempDir::new().unwrap();
    let seen = visit(&page, dir.path(), "500,900");
    assert_eq!(seen["watched"], serde_json::json!([]));
    assert_eq!(seen["injected"], 0);
    assert_eq!(seen["wider"], false, "the page scrolls sideways in a narrow window");
    check_reachable(&seen);
    check_verdicts(&seen, &json);
}
