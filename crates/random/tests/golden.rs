//! The first outputs of every stream. Files were made with them: see the head of the crate before changing one.

use servelab_random::{ChaChaStream, HashStream, SplitMix64, UnitGamma, hash, shuffle, split};

fn take<T>(n: usize, draw: impl FnMut() -> T) -> Vec<T> {
    std::iter::repeat_with(draw).take(n).collect()
}

/// Floating point to the last bit: `f64`'s shortest text that reads back as the same number.
fn texts(numbers: Vec<f64>) -> Vec<String> {
    numbers.into_iter().map(|x| x.to_string()).collect()
}

#[test]
fn split_seeds() {
    // sha256(7 as 8 bytes, little-endian, "lengths"), first 8 bytes, big-endian, without the last 11 bits
    assert_eq!(split(7, "lengths"), 4_084_125_947_038_615);
    assert_eq!(split(7, ""), 6_013_314_859_403_205);
    assert_eq!(split(u64::MAX, "trials/block/1"), 4_341_939_098_272_169);
}

/// Against `ChaCha` with 8 rounds written by hand from RFC 8439's block function, keyed by SHA-256.
#[test]
fn chacha() {
    let mut stream = ChaChaStream::new(7, "arrivals");
    assert_eq!(
        take(4, || stream.bits()),
        [
            0x111a_f36d_fd78_d24d,
            0x43c9_77d3_6afb_910b,
            0x9549_6f6d_e973_e40d,
            0x4c59_3358_ab0c_43ae
        ]
    );
    // The same words, 32 bits at a time, low half first: 0xfd78d24d × 1000 / 2^32, …
    let mut stream = ChaChaStream::new(7, "arrivals");
    assert_eq!(take(4, || stream.below(1000)), [990, 66, 417, 264]);
}

/// A gamma of shape 1 is the same distribution, drawn the same way.
const EXPONENTIAL: [&str; 3] = ["0.16241315724516384", "1.3077531503861584", "2.7613653978650077"];

#[test]
fn exponential() {
    let mut stream = ChaChaStream::new(7, "arrivals");
    assert_eq!(texts(take(3, || stream.exponential())), EXPONENTIAL);
}

#[test]
fn gamma() {
    for (shape, expected) in [
        (
            0.5,
            ["0.00208793074037241", "0.21724991839756727", "0.013437889104729669"],
        ),
        (1.0, EXPONENTIAL),
        (4.0, ["0.33054228287282045", "1.1572925085231553", "0.9407030834480284"]),
    ] {
        let mut stream = ChaChaStream::new(7, "arrivals");
        let gamma = UnitGamma::new(shape).unwrap();
        assert_eq!(texts(take(3, || stream.gamma(&gamma))), expected, "shape {shape}");
    }
    assert_eq!(UnitGamma::new(0.0), None);
    assert_eq!(UnitGamma::new(f64::NAN), None);
}

/// The definition in Python: `int.from_bytes(sha256(key + n.to_bytes(8, "little")).digest()[:8], "big")`.
#[test]
fn hash_stream() {
    let mut stream = HashStream::new(7, "lengths");
    assert_eq!(
        take(4, || stream.bits()),
        [
            0x98b6_2662_6116_3e68,
            0x4526_8e2f_1d6a_ff9a,
            0xa0cf_2102_2d01_440f,
            0x17f8_51c7_71ea_ce4c
        ]
    );
    let mut items: Vec<u32> = (0..8).collect();
    HashStream::new(7, "lengths").shuffle(&mut items);
    assert_eq!(items, [6, 2, 7, 5, 0, 3, 1, 4]);
    let mut left: Vec<u32> = (0..8).collect();
    let mut stream = HashStream::new(7, "lengths");
    assert_eq!(take(3, || stream.draw(&mut left)), [Some(4), Some(1), Some(3)]);
}

#[test]
fn orders() {
    let order = |seed| {
        let mut items: Vec<u32> = (0..8).collect();
        shuffle(&mut items, seed);
        items
    };
    assert_eq!(order(split(1, "prompts/block/1")), [3, 5, 7, 1, 4, 6, 2, 0]);
    assert_eq!(order(0), [6, 3, 0, 1, 5, 4, 2, 7]);
    let mut many: Vec<u32> = (0..1000).collect();
    shuffle(&mut many, 7);
    assert_eq!(
        many.iter().take(6).collect::<Vec<_>>(),
        [&322, &549, &20, &150, &420, &672]
    );
}

/// The vector that is published with the algorithm, and what is made of it.
#[test]
fn split_mix() {
    let mut rng = SplitMix64::new(1_234_567);
    assert_eq!(
        take(3, || rng.next_u64()),
        [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423
        ]
    );
    let mut rng = SplitMix64::new(1_234_567);
    assert_eq!(
        texts(take(3, || rng.uniform())),
        ["0.3500795420214081", "0.17364409667091263", "0.5322073040624192"]
    );
    let mut rng = SplitMix64::new(1_234_567);
    assert_eq!(take(6, || rng.below(10)), [3, 1, 5, 2, 8, 4]);
}

#[test]
fn hashes() {
    assert_eq!(hash::mix(7), 0x63cb_e1e4_5932_0dd7);
    assert_eq!(hash::mix_all(&[1, 2, 3]), 0xebfb_dfd7_a33a_8b32);
    assert_eq!(hash::unit(7).to_string(), "0.3898297483912715");
    assert_eq!(hash::below(7, 1000), 389);
}
