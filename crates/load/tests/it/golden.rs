//! Arrival schedules, to the nanosecond. They are part of a plan's meaning: where one of these changes, every open loop that
//! was planned before arrives otherwise, which needs a new METHOD_VERSION and is never a library's update.

use servelab_load::{arrivals::Schedule, bench::builtin};
use servelab_schema::{Arrivals, Nanos, Rate, Shape};
use std::num::NonZeroU32;

const RATE_PER_S: f64 = 10.0;

/// Also those of gamma with shape 1, which is the same process.
const POISSON_NS: [u64; 8] = [
    10_278_316,
    207_396_671,
    530_957_584,
    791_147_765,
    823_548_822,
    838_076_724,
    896_589_352,
    936_342_823,
];

fn schedule(arrivals: Arrivals) -> Schedule {
    Schedule::new(arrivals, Rate::new(RATE_PER_S).unwrap(), 20_261_127, "measured")
}

fn check(arrivals: Arrivals, expected_ns: [u64; 8]) {
    let found = schedule(arrivals).take_offsets(8);
    assert_eq!(found, expected_ns.map(Nanos), "{arrivals:?}");
}

/// Measured arrivals fill their horizon; fillers' schedules are endless.
fn check_filled(arrivals: Arrivals, expected_ns: [u64; 8]) {
    let found = schedule(arrivals).fill(8);
    assert_eq!(found.offsets, expected_ns.map(Nanos), "{arrivals:?}");
    assert_eq!(found.horizon, Nanos::from_millis(800));
}

fn gamma(shape: f64) -> Arrivals {
    Arrivals::Gamma {
        shape: Shape::new(shape).unwrap(),
    }
}

#[test]
fn constant_arrivals() {
    check(
        Arrivals::Constant,
        [
            0,
            100_000_000,
            200_000_000,
            300_000_000,
            400_000_000,
            500_000_000,
            600_000_000,
            700_000_000,
        ],
    );
}

#[test]
fn poisson_arrivals() {
    check(Arrivals::Poisson, POISSON_NS);
    check_filled(
        Arrivals::Poisson,
        [
            8_613_202,
            173_797_876,
            444_941_089,
            662_979_791,
            690_131_793,
            702_306_138,
            751_339_570,
            784_652_876,
        ],
    );
}

#[test]
fn gamma_arrivals() {
    // Below 1, 1 and above 1 are three ways to draw.
    check(
        gamma(0.5),
        [
            68_066_359,
            217_045_483,
            255_705_998,
            303_783_046,
            317_450_949,
            603_540_856,
            678_618_597,
            707_645_667,
        ],
    );
    check(gamma(1.0), POISSON_NS);
    check(
        gamma(4.0),
        [
            90_968_703,
            294_659_208,
            396_452_282,
            486_788_601,
            572_851_498,
            622_888_629,
            705_774_345,
            783_367_370,
        ],
    );
    check_filled(
        gamma(0.5),
        [
            71_620_153,
            228_377_585,
            269_056_594,
            319_643_779,
            334_025_293,
            635_052_160,
            714_049_765,
            744_592_360,
        ],
    );
    check_filled(
        gamma(4.0),
        [
            81_163_177,
            262_897_862,
            353_718_650,
            434_317_608,
            511_103_777,
            555_747_400,
            629_698_856,
            698_928_121,
        ],
    );
}

#[test]
fn burst_arrivals() {
    let size = NonZeroU32::new(3).unwrap();
    check(
        Arrivals::Burst { size },
        [0, 0, 0, 300_000_000, 300_000_000, 300_000_000, 600_000_000, 600_000_000],
    );
}

#[test]
fn ramped_arrivals() {
    let found = schedule(Arrivals::Poisson).ramped(Nanos::from_secs(1)).take_offsets(4);
    assert_eq!(
        found,
        [143_375_842, 644_044_519, 1_030_957_584, 1_291_147_765].map(Nanos)
    );
}

/// Far draws too: an algorithm whose rare branches changed would pass the first few.
#[test]
fn the_hundred_thousandth_arrival() {
    let last = |arrivals| schedule(arrivals).take_offsets(100_000).pop().unwrap();
    assert_eq!(last(Arrivals::Poisson), Nanos(9_924_801_600_148));
    let filled = schedule(Arrivals::Poisson).fill(100_000).offsets.pop().unwrap();
    assert_eq!(filled, Nanos(9_999_950_334_336));
    assert_eq!(last(gamma(0.5)), Nanos(9_949_021_035_615));
    assert_eq!(last(gamma(4.0)), Nanos(10_006_148_213_040));
}

#[test]
fn words_of_the_built_in_prompts() {
    assert_eq!(
        builtin::words(7, "shared-prefix", 8),
        " fabric saddle meadow valley fabric granite beacon kiosk"
    );
    assert_eq!(builtin::opening(7, 12), "delta upland amber nectar lagoon fabric 12");
}
