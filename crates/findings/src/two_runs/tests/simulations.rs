//! How often the rule errs and how often it finds, with fixed seeds. Bounds are the nominal rate and three standard errors.
//! `SERVELAB_PRINT=1 cargo test --release -p servelab-findings two_runs -- --nocapture` prints docs/METHODOLOGY.md's table, of
//! twenty times as many pairs of runs.

#![expect(clippy::print_stderr, reason = "the table is printed where it is asked for")]

use super::*;

const NAMES: [&str; 7] = ["C2", "C3", "C4", "C5", "C6", "C7", "C8"];

/// What was said over many pairs of runs.
#[derive(Debug, Default, Clone, Copy)]
struct Said {
    pairs: u32,
    /// Pairs in which any question was answered Worse.
    any_worse: u32,
    /// Pairs in which any was answered Better or Worse.
    any_claim: u32,
    /// The same of relative questions alone.
    any_relative: u32,
    /// Pairs in which C2 is Worse: absolutely, relatively.
    c2_worse: [u32; 2],
    /// Pairs in which any question is answered Equivalent.
    any_equivalent: u32,
}

/// How two runs are drawn, and what C2 is in the second.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    name: &'static str,
    old: Drawn,
    new: Drawn,
    /// The new effect / the old one, of C2 and of all others.
    effects: [f64; 2],
}

/// METHOD's spread: the log ratio to the mean of two controls has a block SD of 6 %, and so has a cell.
const fn method(k: u32) -> Drawn {
    // √(shared² + noise²) = 6 % and noise·√1.5 = 6 %.
    Drawn {
        k,
        shared: 0.034_6,
        noise: 0.049,
        machine: 0.0,
    }
}

fn prints() -> bool {
    std::env::var_os("SERVELAB_PRINT").is_some()
}

impl Scenario {
    fn said(&self, pairs: u32) -> Said {
        let pairs = if prints() { pairs * 20 } else { pairs };
        let plan = plan(&NAMES.map(|n| (n, "C1")));
        let then = NAMES.map(|n| (n, 1.0));
        let now = NAMES.map(|n| (n, self.effects[usize::from(n != "C2")]));
        let mut said = Said {
            pairs,
            ..Said::default()
        };
        let mut rng = SplitMix64::new(20_270_202);
        for _ in 0..pairs {
            let old = drawn(&mut rng, self.old, &then);
            let new = drawn(&mut rng, self.new, &now);
            let changes = compared(&plan, &old, &new);
            let any = |is: &dyn Fn(&Change) -> bool| u32::from(changes.iter().any(is));
            let worse = |c: &Change| matches!(c.verdict, ChangeVerdict::Worse { .. });
            let claims = |c: &Change| worse(c) || c.verdict == ChangeVerdict::Better;
            said.any_worse += any(&worse);
            said.any_claim += any(&claims);
            said.any_relative += any(&|c| claims(c) && c.of == Relative);
            said.any_equivalent += any(&|c| c.verdict == ChangeVerdict::Equivalent);
            for (count, of) in said.c2_worse.iter_mut().zip([Absolute, Relative]) {
                *count += u32::from(worse(find(&changes, "C2", of)));
            }
        }
        if prints() {
            let percent = |n: u32| f64::from(n) * 100.0 / f64::from(pairs);
            let [absolute, relative] = said.c2_worse.map(percent);
            eprintln!(
                "| {} | {:.1} | {:.1} | {:.1} | {absolute:.1} | {relative:.1} | {:.1} |",
                self.name,
                percent(said.any_worse),
                percent(said.any_claim),
                percent(said.any_relative),
                percent(said.any_equivalent)
            );
        }
        said
    }
}

/// At most so many of `pairs` where the rate is 5 %: three standard errors above.
fn is_five_per_cent(n: u32, pairs: u32) -> bool {
    let expected = f64::from(pairs) * 0.05;
    f64::from(n) <= expected + 3.0 * (expected * 0.95).sqrt()
}

#[test]
fn equal_runs_rarely_say_anything() {
    let spread = Drawn {
        noise: 0.15,
        ..method(6)
    };
    for (name, old, new) in [
        ("10 and 10 blocks, nothing changed", method(10), method(10)),
        ("10 and 6 blocks, nothing changed", method(10), method(6)),
        ("6 and 6 blocks, nothing changed", method(6), method(6)),
        (
            "10 and 6 blocks, the new ones spread three times as far",
            method(10),
            spread,
        ),
    ] {
        let effects = [1.0, 1.0];
        let scenario = Scenario {
            name,
            old,
            new,
            effects,
        };
        let said = scenario.said(250);
        assert!(is_five_per_cent(said.any_worse, said.pairs), "{name}: {said:?}");
        // Welch's approximation is a little bold where a small sample spreads far: Better and Worse together err with 8 %.
        assert!(
            new.noise > old.noise || is_five_per_cent(said.any_claim, said.pairs),
            "{name}: {said:?}"
        );
    }
}

#[test]
fn a_slower_machine_is_no_slower_variant() {
    let scenario = Scenario {
        name: "10 and 10 blocks, the machine 10 % slower",
        old: method(10),
        new: Drawn {
            machine: -0.105,
            ..method(10)
        },
        effects: [1.0, 1.0],
    };
    let said = scenario.said(250);
    assert!(is_five_per_cent(said.any_relative, said.pairs), "{said:?}");
}

#[test]
fn fifteen_per_cent_are_found() {
    for (name, new, least) in [
        ("10 and 10 blocks, C2 15 % slower", method(10), 0.9),
        ("10 and 6 blocks, C2 15 % slower", method(6), 0.6),
    ] {
        let scenario = Scenario {
            name,
            old: method(10),
            new,
            effects: [1.0 / 1.15, 1.0],
        };
        let said = scenario.said(250);
        for found in said.c2_worse {
            assert!(f64::from(found) >= least * f64::from(said.pairs), "{name}: {said:?}");
        }
    }
}

#[test]
fn changes_just_beyond_the_margin_are_rarely_called_equivalent() {
    // C1 changed by exactly δ, and so did every effect: each Equivalent is wrong.
    let steady = Drawn {
        shared: 0.005,
        noise: 0.012,
        ..method(10)
    };
    let scenario = Scenario {
        name: "10 and 10 blocks of 1.3 % spread, everything changed by δ",
        old: steady,
        new: Drawn {
            machine: 0.029_56,
            ..steady
        },
        effects: [1.03, 1.03],
    };
    let said = scenario.said(250);
    assert!(is_five_per_cent(said.any_equivalent, said.pairs), "{said:?}");
}
