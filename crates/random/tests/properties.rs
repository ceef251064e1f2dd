//! What every stream promises whatever its numbers are.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use servelab_random::{ChaChaStream, HashStream, SplitMix64, UnitGamma, hash, shuffle, split, unshuffled};

/// Each of `n` places is drawn about `draws / n` times: within 6 standard deviations.
fn check_uniform(n: usize, draws: u32, mut draw: impl FnMut() -> usize) {
    let mut counts = vec![0_u32; n];
    for _ in 0..draws {
        counts[draw()] += 1;
    }
    let expected = f64::from(draws) / f64::from(u32::try_from(n).unwrap());
    let far = 6.0 * expected.sqrt();
    assert!(
        counts.iter().all(|&c| (f64::from(c) - expected).abs() < far),
        "{counts:?}"
    );
}

#[test]
fn indices_are_uniform() {
    let mut chacha = ChaChaStream::new(1, "test");
    check_uniform(7, 21_000, || usize::try_from(chacha.below(7)).unwrap());
    let mut stream = HashStream::new(1, "test");
    check_uniform(6, 6_000, || stream.below(6));
    let mut rng = SplitMix64::new(7);
    check_uniform(10, 20_000, || rng.below(10));
    let mut i = 0;
    check_uniform(7, 20_000, || {
        i += 1;
        hash::below(i, 7)
    });
    assert_eq!(
        (chacha.below(0), stream.below(0), rng.below(0), hash::below(3, 0)),
        (0, 0, 0, 0)
    );
}

/// Every item is equally likely in every place, in both shuffles.
#[test]
fn shuffles_are_permutations_of_equal_chance() {
    let by_seed = |items: &mut [usize], n: u64| shuffle(items, split(n, "test"));
    let by_stream = |items: &mut [usize], n: u64| HashStream::new(n, "test").shuffle(items);
    let both: [fn(&mut [usize], u64); 2] = [by_seed, by_stream];
    for one in both {
        let mut counts = [[0_u32; 4]; 4];
        for n in 0..4000 {
            let mut items = [0, 1, 2, 3];
            one(&mut items, n);
            for (place, item) in items.into_iter().enumerate() {
                counts[item][place] += 1;
            }
        }
        // 1000 expected, SD 27.
        assert!(counts.iter().flatten().all(|n| (850..1150).contains(n)), "{counts:?}");
        let mut many: Vec<usize> = (0..100).collect();
        one(&mut many, 1);
        assert_ne!(many, (0..100).collect::<Vec<_>>());
        many.sort_unstable();
        assert_eq!(many, (0..100).collect::<Vec<_>>());
        one(&mut [], 1);
    }
}

#[test]
fn seeds_and_names_decide() {
    let chacha = |seed, name: &str| ChaChaStream::new(seed, name).bits();
    let hashed = |seed, name: &str| HashStream::new(seed, name).bits();
    let all: [fn(u64, &str) -> u64; 3] = [chacha, hashed, split];
    for bits in all {
        assert_eq!(bits(1, "a"), bits(1, "a"));
        assert_ne!(bits(1, "a"), bits(1, "b"));
        assert_ne!(bits(1, "a"), bits(2, "a"));
    }
    assert!(
        (0..1000).all(|seed| split(seed, "a") < 1 << 53),
        "JSON readers keep 53 bits"
    );
    assert_ne!(hash::mix_all(&[1, 2]), hash::mix_all(&[2, 1]));
}

#[test]
fn what_is_drawn_is_used_up() {
    let mut stream = HashStream::new(1, "test");
    let mut left = vec![1, 2, 3];
    let drawn: u32 = std::iter::from_fn(|| stream.draw(&mut left)).sum();
    assert_eq!(drawn, 6);
}

/// Mean and variance of 100,000 draws, each within 6 standard errors.
#[test]
fn moments() {
    const N: u32 = 100_000;
    let check = |what: &str, mean: f64, variance: f64, fourth: f64, draw: &mut dyn FnMut() -> f64| {
        let n = f64::from(N);
        let draws: Vec<f64> = (0..N).map(|_| draw()).collect();
        let found = draws.iter().sum::<f64>() / n;
        let spread = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        assert!(
            (found - mean).abs() < 6.0 * (variance / n).sqrt(),
            "{what}: mean {found}"
        );
        let error = ((fourth - variance.powi(2)) / n).sqrt();
        assert!((spread - variance).abs() < 6.0 * error, "{what}: variance {spread}");
    };
    let mut rng = SplitMix64::new(7);
    check("uniform", 0.5, 1.0 / 12.0, 1.0 / 80.0, &mut || rng.uniform());
    let mut rng = SplitMix64::new(8);
    check("normal", 0.0, 1.0, 3.0, &mut || rng.normal());
    let mut stream = ChaChaStream::new(1, "moments");
    check("exponential", 1.0, 1.0, 9.0, &mut || stream.exponential());
    for shape in [0.5, 1.0, 4.0] {
        let gamma = UnitGamma::new(shape).unwrap();
        // The fourth central moment of a gamma with shape k and scale 1/k.
        let fourth = (3.0 + 6.0 / shape) / (shape * shape);
        check("gamma", 1.0, 1.0 / shape, fourth, &mut || stream.gamma(&gamma));
    }
    let mut i = 0;
    check("hash", 0.5, 1.0 / 12.0, 1.0 / 80.0, &mut || {
        i += 1;
        hash::unit(i)
    });
}

#[test]
fn what_was_shuffled_can_be_put_back() {
    for length in 0..40_u64 {
        let before: Vec<u64> = (0..length).collect();
        let mut items = before.clone();
        shuffle(&mut items, length * 7);
        assert_eq!(unshuffled(&items, length * 7), before);
    }
}
